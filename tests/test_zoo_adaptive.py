"""Adaptive frame rate: thresholds that keep their promise, levels that are looked at only when needed."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import VIDEO_FOLDER, MakeVideo
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emo_affectnet.emotions import Emotion
from emo_affectnet.errors import (
    CorpusError,
    CorruptWeights,
    MissingWeights,
    UnknownName,
    UsageError,
    VideoError,
    WrongArchitecture,
)
from emo_affectnet.timeline import sample_frames
from emo_affectnet.video import probe, read_frames
from emo_affectnet.weights import bundled_folder, hash_file, read_record
from emo_affectnet.zoo import adaptive
from emo_affectnet.zoo.adaptive import (
    BATCH_SIZE,
    AdaptiveReader,
    Thresholds,
    calibrate,
    calibrate_clips,
    choose_samples,
    decide,
    read_thresholds,
    write_thresholds,
)

EXPRESSIONS = VIDEO_FOLDER / "expressions.mp4"  # 340 frames at 25 fps: 68 samples at 5 Hz


def rows(*tops: tuple[int, float]) -> np.ndarray:
    """Scores (N, 3), each with its top class and score."""
    scores = np.zeros((len(tops), 3))
    for row, (column, top) in zip(scores, tops, strict=True):
        row[column] = top
    return scores


# Learning thresholds

# Ten clips, all of class 0. In order of their top score: right .9 .8, wrong .75, right .7, wrong .6, right .5 .4, and
# so on. A threshold of .7 has one wrong of ten above it, one of .4 has two, and so has one of .3.
HELD_OUT = rows((0, 0.9), (0, 0.8), (1, 0.75), (0, 0.7), (1, 0.6), (0, 0.5), (0, 0.4), (0, 0.3), (1, 0.2), (1, 0.1))
CLASS_0 = [0] * 10


@pytest.mark.parametrize(
    ("alpha", "threshold"),
    [(0.05, 0.8), (0.1, 0.7), (0.19, 0.7), (0.2, 0.3), (0.9, 0.3)],  # .3 is the lowest score of a right one
)
def test_the_walk_keeps_the_lowest_right_score_within_its_budget(alpha: float, threshold: float) -> None:
    found = calibrate([HELD_OUT, HELD_OUT], CLASS_0, strides=(2, 1), alpha=alpha, budget="fixed")
    assert found.thresholds == (threshold,)


def test_step_up_gives_the_coarse_levels_a_smaller_budget() -> None:
    levels = [HELD_OUT] * 3
    step_up = calibrate(levels, CLASS_0, strides=(4, 2, 1), alpha=0.3)
    assert step_up.thresholds == (0.7, 0.3)  # budgets of .1 and .2
    assert calibrate(levels, CLASS_0, strides=(4, 2, 1), alpha=0.3, budget="fixed").thresholds == (0.3, 0.3)
    assert step_up == Thresholds((4, 2, 1), (0.7, 0.3), alpha=0.3, held_out=10)


def test_a_budget_of_three_in_thirty_allows_three() -> None:
    held_out = rows(*[(1, 0.9)] * 3, *[(0, 0.5)] * 27)  # 0.3 / 3 is a little less than 0.1 in floating point
    assert calibrate([held_out] * 3, [0] * 30, strides=(4, 2, 1), alpha=0.3).thresholds == (0.5, 0.5)


@pytest.mark.parametrize(
    "held_out",
    [
        rows((1, 0.9), (1, 0.8), (0, 0.7), (0, 0.6)),  # the surest are wrong
        rows((1, 0.9), (2, 0.8)),  # all are
        np.full((2, 3), np.nan),  # no face at all
    ],
    ids=["the surest are wrong", "all are wrong", "no face"],
)
def test_a_level_that_cannot_be_trusted_accepts_nothing(held_out: np.ndarray) -> None:
    found = calibrate([held_out] * 2, [0] * len(held_out), strides=(2, 1), alpha=0.1, budget="fixed")
    assert found.thresholds == (math.inf,)
    assert not found.accepts(np.array([1.0, 0, 0]), 0)
    assert found.accepts(np.array([0.4, 0.3, 0.3]), 1)


def test_a_clip_without_a_face_at_a_level_counts_and_is_never_accepted() -> None:
    faceless = np.vstack([HELD_OUT, np.full((10, 3), np.nan)])
    found = calibrate([faceless] * 2, [0] * 20, strides=(2, 1), alpha=0.05, budget="fixed")
    assert found.thresholds == (0.7,)  # one wrong of twenty
    assert found.held_out == 20
    assert not found.accepts(np.full(3, np.nan), 0)
    assert not found.accepts(None, 0)


@settings(max_examples=200, deadline=None)
@given(
    data=st.data(),
    clips=st.integers(1, 40),
    alpha=st.sampled_from([0.01, 0.02, 0.05, 0.1, 0.3, 0.5, 0.9]),
    budget=st.sampled_from(adaptive.BUDGETS),
)
def test_on_its_own_clips_no_level_exceeds_its_budget(
    data: st.DataObject, clips: int, alpha: float, budget: str
) -> None:
    value = st.one_of(st.floats(0, 1), st.sampled_from([0.25, 0.5, 0.75]), st.just(math.nan))
    levels = [data.draw(arrays(np.float64, (clips, 3), elements=value)) for _ in range(3)]
    labels = data.draw(arrays(np.int64, clips, elements=st.integers(0, 2)))
    found = calibrate(levels, labels, strides=(9, 3, 1), alpha=alpha, budget=budget)
    for level in range(2):
        accepted = [found.accepts(scores, level) for scores in levels[level]]
        wrong = [scores.argmax() != label for scores, label in zip(levels[level], labels, strict=True)]
        share = alpha * (level + 1) / 3 if budget == "step-up" else alpha
        assert np.logical_and(accepted, wrong).sum() <= share * clips + 1e-9


@pytest.mark.parametrize("budget", adaptive.BUDGETS)
def test_the_walk_is_the_published_loop(budget: str) -> None:
    random = np.random.default_rng(4)  # 199 clips: no share of them is a budget exactly
    for alpha in (0.02, 0.1, 0.3):
        scores = [random.dirichlet(np.ones(7), 199) for _ in range(3)]
        labels = np.where(random.random(199) < 0.7, scores[0].argmax(axis=1), random.integers(0, 7, 199))
        found = calibrate(scores, labels, strides=(18, 9, 1), alpha=alpha, budget=budget)
        for level in range(2):
            share = alpha * (level + 1) / 3 if budget == "step-up" else alpha
            top, right = scores[level].max(axis=1), scores[level].argmax(axis=1) == labels
            kept = math.inf
            for candidate in sorted(top[right], reverse=True):
                if (~right & (top > candidate)).sum() / 199 > share:
                    break
                kept = candidate
            assert found.thresholds[level] == kept


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"scores": [HELD_OUT]}, "the scores of the same clips at 2 levels, but got 10 labels and scores of 10 clips"),
        ({"scores": [HELD_OUT, HELD_OUT[:9]]}, "10 labels and scores of 10, 9 clips"),
        ({"labels": []}, "got 0 labels"),
        ({"alpha": 0.0}, "between 0 and 1, but 0.0 was given"),
        ({"alpha": 1.0}, "between 0 and 1, but 1.0 was given"),
        ({"strides": (3, 2)}, "each a multiple of the next, as 16, 4, 1 do, but 3, 2 were given"),
        ({"strides": (1, 2)}, "but 1, 2 were given"),
        ({"strides": (2, 0)}, "but 2, 0 were given"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict, sentence: str) -> None:
    call = {"scores": [HELD_OUT, HELD_OUT], "labels": CLASS_0, "strides": (2, 1), "alpha": 0.1} | changes
    with pytest.raises(UsageError, match=sentence):
        calibrate(call.pop("scores"), call.pop("labels"), **call)


def test_an_unknown_budget_is_told_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="step-up, fixed"):
        calibrate([HELD_OUT] * 2, CLASS_0, strides=(2, 1), budget="bonferroni")


# Choosing samples and deciding


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [[0], [0], [0]]),
        (2, [[1], [1], [0, 1]]),
        (7, [[3], [3], list(range(7))]),
        (16, [[8], [0, 4, 8, 12], list(range(16))]),
        (24, [[8], [0, 4, 8, 12, 16, 20], list(range(24))]),
        (25, [[8, 24], [0, 4, 8, 12, 16, 20, 24], list(range(25))]),
    ],
)
def test_levels_look_at_every_strideth_sample_from_the_middle_of_the_first(
    count: int, expected: list[list[int]]
) -> None:
    assert [each.tolist() for each in choose_samples(count, (16, 4, 1))] == expected


@given(count=st.integers(1, 200), strides=st.sampled_from([(16, 4, 1), (18, 9, 3, 1), (50, 10, 1), (6, 2), (8,), (1,)]))
def test_every_level_looks_at_something_and_includes_the_one_before(count: int, strides: tuple[int, ...]) -> None:
    levels = choose_samples(count, strides)
    for coarse, fine in zip(levels, levels[1:], strict=False):
        assert set(coarse) <= set(fine)
    for stride, level in zip(strides, levels, strict=True):
        assert len(level) >= 1
        assert 0 <= level[0] <= level[-1] < count
        assert set(np.diff(level)) <= {stride}


THRESHOLDS = Thresholds((16, 4, 1), (0.8, 0.6), alpha=0.1, held_out=10)


def ask(*tops: float | None) -> tuple[Iterator[np.ndarray | None], list[int]]:
    """Levels with these top scores, None without a face, and the list of those that were asked for."""
    asked: list[int] = []

    def levels() -> Iterator[np.ndarray | None]:
        for level, top in enumerate(tops):
            asked.append(level)
            yield None if top is None else np.array([top, 0.0])

    return levels(), asked


@pytest.mark.parametrize(
    ("tops", "level"),
    [
        ((0.9, 0.9, 0.9), 0),
        ((0.8, 0.61, 0.9), 1),  # a score has to exceed its threshold
        ((0.1, 0.6, 0.0), 2),  # the last level always answers
        ((None, 0.9, 0.9), 1),
        ((math.nan, math.nan, 0.2), 2),
        ((None, None, None), 2),
    ],
)
def test_no_finer_level_is_asked_for_than_the_one_that_answers(tops: tuple[float | None, ...], level: int) -> None:
    levels, asked = ask(*tops)
    decision = decide(levels, THRESHOLDS)
    assert asked == list(range(level + 1))
    assert (decision.level, decision.stride) == (level, (16, 4, 1)[level])
    assert (decision.scores is None) == (tops[level] is None)


@pytest.mark.parametrize(
    ("count", "shares"), [(None, (1 / 16, 4 / 16, 1)), (7, (1 / 7, 1 / 7, 1)), (25, (2 / 25, 7 / 25, 1))]
)
def test_a_decision_says_which_share_of_the_samples_it_took(count: int | None, shares: tuple[float, ...]) -> None:
    for level, share in enumerate(shares):
        levels, _ = ask(*[0.0] * level, 1.0, 1.0)
        assert decide(levels, THRESHOLDS, count=count).share == share


def test_too_few_levels_are_refused() -> None:
    with pytest.raises(UsageError, match="scores of 3 levels, but there are fewer"):
        decide([np.array([0.1]), np.array([0.1])], THRESHOLDS)


def test_a_smaller_alpha_looks_at_more_samples() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 7, 500)
    levels = []
    for signal in (1.0, 1.5, 2.0):  # a finer level knows more
        logits = random.normal(0, 1, (500, 7)) + signal * np.eye(7)[labels]
        levels.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    shares = []
    for alpha in (0.02, 0.05, 0.1, 0.2, 0.3):
        thresholds = calibrate(levels, labels, strides=(16, 4, 1), alpha=alpha)
        shares.append(np.mean([decide(scores, thresholds).share for scores in zip(*levels, strict=True)]))
    assert shares == sorted(shares, reverse=True)
    assert shares == pytest.approx([0.847, 0.742, 0.644, 0.491, 0.380], abs=1e-3)  # as measured


# The file


def test_thresholds_come_back_from_their_file(tmp_path: Path) -> None:
    written = Thresholds(
        (16, 4, 1), (math.inf, 0.25), alpha=0.2, held_out=7, budget="fixed", backbone_sha256="a" * 64,
        calibrated_on=("simulated SAVEE",),
    )  # fmt: skip
    write_thresholds(written, tmp_path / "adaptive.json")
    assert read_thresholds(tmp_path / "adaptive.json") == written
    text = (tmp_path / "adaptive.json").read_text()
    assert json.loads(text)["thresholds"] == [None, 0.25]
    assert "Infinity" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["adaptive.json"]


GOOD = {
    "kind": "emo-affectnet adaptive thresholds",
    "strides": [4, 1],
    "thresholds": [0.5],
    "alpha": 0.1,
    "held_out": 3,
    "budget": "fixed",
    "backbone_sha256": None,
    "calibrated_on": [],
}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "cannot be read: Expecting value"),
        ("\x89PNG", "cannot be read"),
        ("[1, 2]", "cannot be read"),
        ({"name": "backbone"}, 'its "kind" is not "emo-affectnet adaptive thresholds"'),
        (
            {"kind": GOOD["kind"]},
            "it lacks alpha, backbone_sha256, budget, calibrated_on, held_out, strides, thresholds",
        ),
        (GOOD | {"thresholds": [0.5, 0.5]}, "a threshold for each of 2 levels but the last"),
        (GOOD | {"thresholds": [math.nan]}, "a threshold for each of 2 levels but the last"),
        (GOOD | {"thresholds": 3}, "cannot be read"),
        (GOOD | {"thresholds": ["high"]}, "could not convert string to float"),
        (GOOD | {"strides": [1, 4]}, "Strides must fall"),
        (GOOD | {"strides": ["4", "1"]}, "cannot be read"),
        (GOOD | {"budget": "none"}, "There is no budget named 'none'"),
        (GOOD | {"alpha": 2}, "alpha is a share"),
        (GOOD | {"held_out": 0}, "on at least one clip, not on 0"),
        (GOOD | {"colour": "red"}, "cannot be read"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: object, reason: str) -> None:
    path = tmp_path / "adaptive.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="latin-1")
    with pytest.raises(CorruptWeights, match=reason) as raised:
        read_thresholds(path)
    assert str(raised.value).startswith(f"{path} should be adaptive thresholds in JSON, but")
    assert str(raised.value).endswith(". Calibrate them again.")


def test_a_missing_file_is_told_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"missing\.json, but there is no such file"):
        read_thresholds(tmp_path / "missing.json")


def test_the_bundled_thresholds_belong_to_the_bundled_backbone() -> None:
    bundled = read_thresholds(bundled_folder() / "adaptive.json")
    record = read_record(bundled_folder() / "backbone.pt")
    assert record is not None
    assert bundled.backbone_sha256 == record.sha256
    assert (bundled.strides, bundled.alpha, bundled.budget) == ((16, 4, 1), 0.1, "step-up")
    assert all(name.startswith("simulated ") for name in bundled.calibrated_on)
    assert 1 > bundled.thresholds[0] > bundled.thresholds[1] > 0.5  # a smaller budget asks for more


# Videos

Answer = Callable[[np.ndarray], np.ndarray | None]


class FakeJudge:
    """Answers what `answer` makes of an image, and WHOLE of a video if it makes anything; keeps what it was shown."""

    def __init__(self, backbone: Path, answer: Answer) -> None:
        self.engine = SimpleNamespace(backbone=backbone)
        self.answer = answer
        self.batches: list[int] = []
        self.images: list[np.ndarray] = []
        self.videos: list[Path] = []

    def predict(self, video: Path) -> SimpleNamespace:
        self.videos.append(video)
        has_face = self.answer(np.full((48, 64, 3), 255, np.uint8)) is not None
        return SimpleNamespace(mean_probabilities=np.mean(WHOLE, axis=0, dtype=np.float64) if has_face else None)

    def judge_faces(self, images: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        self.batches.append(len(images))
        self.images += images
        return [self.answer(image) for image in images]


def surely(emotion: Emotion, top: float = 0.95) -> np.ndarray:
    probabilities = np.full(7, (1 - top) / 6, np.float32)
    probabilities[emotion] = top
    return probabilities


WHOLE = (surely(Emotion.Disgust, 0.6), surely(Emotion.Sadness, 0.5))  # two frames, Disgust in the mean


@pytest.fixture
def open_judge(tmp_path: Path) -> Callable[[Answer], FakeJudge]:
    backbone = tmp_path / "backbone.pt"
    backbone.write_bytes(b"weights")
    return lambda answer: FakeJudge(backbone, answer)


def read_samples(path: Path) -> list[np.ndarray]:
    """The samples of the road, by full decoding."""
    return [frame.image for frame in sample_frames(read_frames(path), probe(path))]


@pytest.mark.parametrize(("top", "level", "used"), [(0.95, 0, 4), (0.7, 1, 17)])
def test_a_demo_clip_is_read_as_far_as_it_takes(
    open_judge: Callable[[Answer], FakeJudge], top: float, level: int, used: int
) -> None:
    judge = open_judge(lambda image: surely(Emotion.Fear, top))
    result = AdaptiveReader(judge, THRESHOLDS).predict(EXPRESSIONS)
    assert (result.emotion, result.level, result.stride) == (Emotion.Fear, level, (16, 4, 1)[level])
    # 68 samples: 8, 24, 40, 56 at the coarse stride; 0, 4, ..., 64 at the next
    assert (result.samples_used, result.samples_in_all, result.share) == (used, 68, used / 68)
    assert (result.probabilities.dtype, result.probabilities.shape) == (np.float32, (7,))
    assert result.probabilities == pytest.approx(surely(Emotion.Fear, top))
    assert max(judge.batches) <= BATCH_SIZE
    samples = read_samples(EXPRESSIONS)
    coarse, middle = [8, 24, 40, 56], [row for row in range(0, 68, 4) if row % 16 != 8]
    for image, row in zip(judge.images, [*coarse, *middle], strict=False):  # each once, level by level
        np.testing.assert_array_equal(image, samples[row])
    assert (len(judge.images), judge.videos) == (used, [])


def test_what_single_faces_do_not_tell_is_left_to_the_road(open_judge: Callable[[Answer], FakeJudge]) -> None:
    judge = open_judge(lambda image: surely(Emotion.Fear, 0.3))
    result = AdaptiveReader(judge, THRESHOLDS).predict(EXPRESSIONS)
    assert judge.videos == [EXPRESSIONS]
    assert (result.emotion, result.level, result.stride, result.share) == (Emotion.Disgust, 2, 1, 1.0)
    assert result.probabilities == pytest.approx(np.mean(WHOLE, axis=0))
    assert len(judge.images) == 17  # of the two coarse levels


def test_a_level_is_the_mean_over_its_samples_that_show_a_face(
    open_judge: Callable[[Answer], FakeJudge], make_video: MakeVideo
) -> None:
    path = make_video("clip.mp4", frames=125)  # 25 samples, as bright as the number of their frame: 0, 5, ..., 120

    def answer(image: np.ndarray) -> np.ndarray | None:
        return None if image.mean() < 60 else surely(Emotion.Anger, 0.5) if image.mean() < 100 else surely(Emotion.Fear)

    result = AdaptiveReader(open_judge(answer), THRESHOLDS).predict(path)
    # Coarse: samples 8 (no face) and 24 (Fear, .95) give .95; were the one without a face counted, it would not pass.
    assert (result.level, result.samples_used) == (0, 2)
    assert result.probabilities == pytest.approx(surely(Emotion.Fear))

    second = AdaptiveReader(open_judge(answer), replace(THRESHOLDS, thresholds=(math.inf, 0.1))).predict(path)
    # Of samples 0, 4, ..., 24 those from 12 on have a face, 12 and 16 are Anger, 20 and 24 Fear.
    expected = (surely(Emotion.Anger, 0.5) + surely(Emotion.Fear)) / 2
    assert (second.level, second.samples_used) == (1, 7)
    assert second.probabilities == pytest.approx(expected)


@pytest.mark.parametrize("frames", [1, 3, 30])
def test_a_short_video_has_at_least_one_sample(
    open_judge: Callable[[Answer], FakeJudge], make_video: MakeVideo, frames: int
) -> None:
    judge = open_judge(lambda image: surely(Emotion.Happiness))
    result = AdaptiveReader(judge, THRESHOLDS).predict(make_video("short.mp4", frames=frames))
    assert (result.emotion, result.level, result.samples_used) == (Emotion.Happiness, 0, 1)
    assert result.samples_in_all == max(math.ceil(frames / 5), 1)


def test_a_video_without_a_face_is_looked_at_throughout_and_has_no_emotion(
    open_judge: Callable[[Answer], FakeJudge], make_video: MakeVideo
) -> None:
    result = AdaptiveReader(open_judge(lambda image: None), THRESHOLDS).predict(make_video("empty.mp4", frames=125))
    assert (result.emotion, result.level, result.share) == (None, 2, 1.0)
    assert np.isnan(result.probabilities).all()


def test_what_is_no_video_is_refused(open_judge: Callable[[Answer], FakeJudge], tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="there is no such file"):
        AdaptiveReader(open_judge(lambda image: None), THRESHOLDS).predict(tmp_path / "missing.mp4")


def test_thresholds_of_another_backbone_are_refused(open_judge: Callable[[Answer], FakeJudge]) -> None:
    judge = open_judge(lambda image: None)
    AdaptiveReader(judge, replace(THRESHOLDS, backbone_sha256=hash_file(judge.engine.backbone)))
    with pytest.raises(WrongArchitecture, match=r"of SHA-256 bbbbbbbbbbbb…, but .*backbone\.pt has .*Calibrate"):
        AdaptiveReader(judge, replace(THRESHOLDS, backbone_sha256="b" * 64))


# Learning from videos


def test_labelled_videos_give_thresholds_and_no_video_is_lost_in_silence(
    open_judge: Callable[[Answer], FakeJudge],
    make_video: MakeVideo,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def answer(image: np.ndarray) -> np.ndarray | None:
        level = image.mean()
        return None if level < 50 else surely(Emotion.Anger, 0.9) if level < 150 else surely(Emotion.Fear, 0.6)

    def clip(name: str, level: int) -> Path:
        return make_video(name, frames=10, level=level)

    right, wrong, unsure = clip("right.mp4", 100), clip("wrong.mp4", 110), clip("unsure.mp4", 200)
    faceless, missing = clip("faceless.mp4", 10), tmp_path / "missing.mp4"
    clips = [
        (right, Emotion.Anger),
        (faceless, Emotion.Fear),
        (unsure, Emotion.Fear),
        (missing, Emotion.Fear),
        (wrong, Emotion.Fear),
    ]
    judge = open_judge(answer)
    found = calibrate_clips(judge, clips, strides=(2, 1), alpha=0.4, budget="fixed")
    # Of three clips one is wrong and as sure as the right one: nothing is wrong above .9, a third above .6.
    assert found.thresholds.thresholds == (pytest.approx(0.6),)
    assert found.thresholds.held_out == 3
    assert found.thresholds.backbone_sha256 == hash_file(judge.engine.backbone)
    assert found.faceless == (str(faceless),)
    assert len(found.unreadable) == 1
    assert str(missing) in found.unreadable[0]
    assert caplog.messages == ["Videos left out: 1 cannot be read, 1 without a face."]
    strict = calibrate_clips(judge, clips, strides=(2, 1), alpha=0.3, budget="fixed")
    assert strict.thresholds.thresholds == (pytest.approx(0.9),)


def test_a_clip_whose_coarse_samples_show_no_face_is_learned_from_all_the_same(
    open_judge: Callable[[Answer], FakeJudge], make_video: MakeVideo
) -> None:
    path = make_video("clip.mp4", frames=50)  # ten samples; the coarse level sees the sixth, as bright as 25
    judge = open_judge(lambda image: None if 20 < image.mean() < 30 else surely(Emotion.Anger))
    found = calibrate_clips(judge, [(path, Emotion.Anger)], strides=(16, 1), alpha=0.3)
    assert (found.thresholds.thresholds, found.thresholds.held_out) == ((math.inf,), 1)


def test_nothing_can_be_learned_from_videos_without_faces(
    open_judge: Callable[[Answer], FakeJudge], make_video: MakeVideo, tmp_path: Path
) -> None:
    clips = [(make_video("empty.mp4", frames=10), Emotion.Fear), (tmp_path / "missing.mp4", Emotion.Fear)]
    with pytest.raises(CorpusError, match="1 cannot be read and 1 show none"):
        calibrate_clips(open_judge(lambda image: None), clips)
