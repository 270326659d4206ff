"""Frames one by one: the same windows give what the offline road gives, and a person is one ring of ten samples."""

from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import VIDEO_FOLDER, FakeDetector, FakeEngine
from torch import Tensor, nn

from emo_affectnet import EmotionRecognizer, store
from emo_affectnet import recognizer as module
from emo_affectnet.baseline import Baseline
from emo_affectnet.emotions import Emotion
from emo_affectnet.engines import TorchEngine, normalize_crops
from emo_affectnet.errors import UnknownName, UsageError, WrongArchitecture
from emo_affectnet.faces import Face
from emo_affectnet.networks import load_classifier
from emo_affectnet.recognizer import Reading
from emo_affectnet.timeline import MAX_GAP, STEP, WINDOW, Moment, choose_head, slide, window_rows
from emo_affectnet.video import Frame, read_frames
from emo_affectnet.weight_sets import resolve

LEFT, RIGHT = Face((2, 10, 26, 40), 0.9), Face((38, 10, 62, 44), None)
EXPRESSIONS = VIDEO_FOLDER / "expressions.mp4"


@pytest.fixture(scope="module")
def bundled() -> EmotionRecognizer:
    return EmotionRecognizer(weights="bundled")


@pytest.fixture(scope="module")
def fake() -> EmotionRecognizer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module.DETECTORS, "near-and-far", lambda confidence=None: FakeDetector())
        patch.setattr(module, "open_engine", lambda weights, **options: FakeEngine())
        return EmotionRecognizer(weights="bundled")


@pytest.fixture
def fakes(fake: EmotionRecognizer) -> EmotionRecognizer:
    fake._detect, fake.engine = FakeDetector(), FakeEngine()
    return fake


@pytest.fixture(scope="module")
def live(bundled: EmotionRecognizer) -> list[Moment]:
    """The moments of 20 samples, 4 s, of one woman's expressions."""
    return [moment for (moment,) in islice(bundled.stream(read_frames(EXPRESSIONS)), 20)]


@pytest.fixture(scope="module")
def reading(bundled: EmotionRecognizer) -> Reading:
    return bundled.read(EXPRESSIONS)


def grey(index: int, *, hz: float = 5, level: int | None = None) -> Frame:
    """Return frame `index` of a source of `hz` frames per second, as bright as its index says."""
    return Frame(index, index / hz, np.full((48, 64, 3), index if level is None else level, np.uint8))


def script(recognizer: EmotionRecognizer, *frames: list[Face]) -> None:
    recognizer._detect = FakeDetector(list(frames))


@pytest.fixture
def windows(fakes: EmotionRecognizer) -> list[np.ndarray]:
    """The windows that the heads are given, (P, 10) brightness each."""
    seen: list[np.ndarray] = []
    classify = fakes.engine.classify
    fakes.engine.classify = lambda windows: seen.append(windows[:, :, 0].round()) or classify(windows)
    return seen


def test_a_full_ring_gives_the_probabilities_of_the_offline_window(
    bundled: EmotionRecognizer, live: list[Moment], reading: Reading
) -> None:
    windows = slide(reading.tracks[0])
    by_head = bundled.engine.classify(windows.features)
    offline = choose_head(by_head, bundled.heads, "ensemble")
    full = live[WINDOW - 1 :: STEP]  # after samples 0-9, 5-14, ...
    assert len(full) == 3
    for moment, probabilities, heads in zip(full, offline, by_head.swapaxes(0, 1), strict=False):
        np.testing.assert_allclose(moment.probabilities, probabilities, atol=1e-5)
        assert moment.agreement == pytest.approx((heads.argmax(axis=1) == probabilities.argmax()).mean())


def test_a_short_ring_is_padded_as_the_window_of_a_short_video(
    bundled: EmotionRecognizer, live: list[Moment], reading: Reading
) -> None:
    features = reading.tracks[0].features
    for count in range(1, WINDOW):
        window = features[window_rows(count)[:1]]  # of a video that ends there
        by_head = bundled.engine.classify(window)
        np.testing.assert_allclose(
            live[count - 1].probabilities, choose_head(by_head, bundled.heads, "ensemble")[0], atol=1e-5
        )


def test_a_moment_says_who_when_and_where(live: list[Moment], reading: Reading) -> None:
    track = reading.tracks[0]
    assert [moment.index for moment in live] == track.frame_indices[:20].tolist()
    np.testing.assert_array_equal([moment.time for moment in live], track.times[:20])
    np.testing.assert_array_equal([moment.box for moment in live], track.boxes[:20])
    np.testing.assert_allclose([moment.score for moment in live], track.scores[:20])
    assert {moment.track_id for moment in live} == {1}


def test_a_static_moment_is_the_softmax_of_the_backbones_own_layer(
    bundled: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = next(read_frames(EXPRESSIONS))
    crops: list[np.ndarray] = []
    embed = bundled.engine.embed
    monkeypatch.setattr(bundled.engine, "embed", lambda images: crops.append(images) or embed(images))
    (moment,) = bundled.open_stream(mode="static").look(frame)
    with torch.inference_mode():
        x = torch.from_numpy(normalize_crops(crops[-1], bundled.preprocessing))
        logits = load_classifier(bundled.engine.backbone)(x)
    np.testing.assert_allclose(moment.probabilities, torch.softmax(logits, dim=1)[0].numpy(), atol=1e-5)
    assert moment.agreement is None


def test_static_judges_every_frame_it_is_given(fakes: EmotionRecognizer) -> None:
    stream = fakes.open_stream(mode="static")
    moments = [stream.update(grey(index, hz=30)) for index in range(4)]
    assert [moment.index for (moment,) in moments] == [0, 1, 2, 3]
    assert moments[0][0].emotion is Emotion(3)


def test_temporal_looks_five_times_per_second_of_media_time(fakes: EmotionRecognizer) -> None:
    stream = fakes.open_stream()
    answers = [stream.update(grey(index, hz=30)) for index in range(31)]
    assert [index for index, answer in enumerate(answers) if answer is not None] == [0, 6, 12, 18, 24, 30]


def test_frames_are_looked_at_in_the_order_of_the_stream(fakes: EmotionRecognizer) -> None:
    frames = (grey(index, hz=30) for index in range(31))
    assert [moment.index for (moment,) in fakes.stream(frames)] == [0, 6, 12, 18, 24, 30]


def test_nobody_is_an_empty_list_and_no_sample_is_none(fakes: EmotionRecognizer) -> None:
    script(fakes)
    stream = fakes.open_stream()
    assert stream.update(grey(0, hz=25)) == []
    assert stream.update(grey(1, hz=25)) is None


def test_a_ring_holds_the_last_ten_samples(fakes: EmotionRecognizer, windows: list[np.ndarray]) -> None:
    for _ in fakes.stream(grey(index) for index in range(13)):
        pass
    windows = windows[1:]  # the first is the warm-up
    assert windows[2].tolist() == [[0, 1, 2, 2, 2, 2, 2, 2, 2, 2]]
    assert windows[9].tolist() == [list(range(10))]
    assert windows[12].tolist() == [list(range(3, 13))]


@pytest.mark.parametrize(
    ("away", "first"),
    [
        (4, 0),  # last seen 1.0 s ago: still there
        (5, 9),  # 1.2 s ago: begins anew, as offline
    ],
)
def test_a_ring_is_cleared_after_an_absence(
    fakes: EmotionRecognizer, windows: list[np.ndarray], away: int, first: int
) -> None:
    script(fakes, *[[LEFT]] * 4, *[[]] * away, [LEFT])
    moments = [moment for found in fakes.stream(map(grey, range(5 + away))) for moment in found]
    assert {moment.track_id for moment in moments} == {1}
    assert MAX_GAP == 1.0
    assert windows[-1][0, 0] == first
    assert windows[-1][0, -1] == 4 + away


def test_two_people_have_two_rings(fakes: EmotionRecognizer, windows: list[np.ndarray]) -> None:
    script(fakes, *[[LEFT, RIGHT]] * 2, [RIGHT, LEFT], [RIGHT])
    frames = []
    for index in range(4):
        image = grey(index).image
        image[:, 32:] = 200 + index
        frames.append(Frame(index, index / 5, image))
    people = list(fakes.stream(frames))
    assert [[moment.track_id for moment in moments] for moments in people] == [[1, 2], [1, 2], [2, 1], [2]]
    assert [moment.score for moment in people[0]] == [0.9, None]
    assert windows[3][:, :3].tolist() == [[200, 201, 202], [0, 1, 2]]  # both in one batch
    assert windows[4].tolist() == [[200, 201, 202, 203] + [203] * 6]
    assert fakes.engine.batch_sizes == [1, 2, 2, 2, 1]


def test_agreement_is_the_share_of_heads_with_the_reported_emotion(fakes: EmotionRecognizer) -> None:
    ((moment,),) = fakes.stream([grey(0)])  # four fake heads say Happiness, two Anger
    assert (moment.emotion, moment.agreement) == (Emotion.Happiness, pytest.approx(4 / 6))


def test_agreement_of_a_single_head_is_unknown(fakes: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes, "heads", ("mine",))
    monkeypatch.setattr(fakes, "head", "mine")
    classify = FakeEngine().classify
    fakes.engine.classify = lambda windows: classify(windows)[-1:]
    ((moment,),) = fakes.stream([grey(0)])
    assert (moment.emotion, moment.agreement) == (Emotion.Anger, None)


def test_people_who_left_are_forgotten(fakes: EmotionRecognizer) -> None:
    script(fakes, [LEFT], *[[RIGHT]] * 8)
    stream = fakes.open_stream()
    for index in range(9):
        stream.update(grey(index, level=0 if index == 0 else 200))
    assert list(stream._rings) == [2]


@pytest.mark.parametrize("mode", ["temporal", "static"])
def test_a_baseline_comes_off_everyone_and_the_raw_values_stay_beside(fakes: EmotionRecognizer, mode: str) -> None:
    baseline = Baseline("rest", None, np.log([0.1, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1]), recordings=1, seconds=9.0)
    (plain,) = fakes.open_stream(mode=mode).look(grey(0))
    (moment,) = fakes.open_stream(mode=mode, baseline=baseline).look(grey(0))
    assert plain.raw_probabilities is None
    assert moment.raw_probabilities is not None
    np.testing.assert_array_equal(moment.raw_probabilities, plain.probabilities)
    by_head = fakes.engine.classify_faces(np.zeros((1, 512)))[None]
    if mode == "temporal":
        by_head = fakes.engine.classify(np.zeros((1, 10, 512)))
    np.testing.assert_allclose(moment.probabilities, baseline.adjust(by_head)[:, 0].mean(axis=0), rtol=1e-6)


def test_a_baseline_that_moves_features_moves_those_that_the_heads_see(
    fakes: EmotionRecognizer, windows: list[np.ndarray]
) -> None:
    baseline = Baseline("rest", np.full(512, 50), np.zeros(7), recordings=1, seconds=9.0)
    fakes.open_stream(baseline=baseline).look(grey(7))
    assert [each[0, 0] for each in windows[1:]] == [7, 57]  # as they are, and moved


def test_what_a_person_has_read_as_so_far_comes_off_the_more_the_longer_they_are_seen(
    fakes: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fakes, "reference", None)
    script(fakes, *[[LEFT]] * 300, [LEFT, RIGHT])
    moments = [moments for moments in fakes.stream(map(grey, range(301)), baseline="person")]
    happiness = [float(found[0].probabilities[1]) for found in moments]
    np.testing.assert_allclose(moments[0][0].probabilities, moments[0][0].raw_probabilities, atol=1e-6)
    assert all(later < earlier for earlier, later in pairwise(happiness))
    person = {moment.track_id: float(moment.probabilities[1]) for moment in moments[300]}
    assert person[1] < person[2]  # who has just come has no baseline yet
    assert happiness[0] == pytest.approx(person[2], abs=1e-6)


def test_a_baseline_that_a_stream_cannot_know_is_refused(fakes: EmotionRecognizer) -> None:
    with pytest.raises(UsageError, match="or 'person', but 'run' was given"):
        fakes.open_stream(baseline="run")


def test_an_unknown_mode_is_answered_with_the_valid_ones(fakes: EmotionRecognizer) -> None:
    with pytest.raises(UnknownName, match="no mode named 'fast'; choose one of: temporal, static"):
        fakes.open_stream(mode="fast")


class Scripted(nn.Module):
    """A TorchScript backbone with the published methods, with or without a last layer."""

    def __init__(self, classes: int | None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, 512)
        if classes:
            self.fc2 = nn.Linear(512, classes)

    @torch.jit.export
    def extract_features(self, x: Tensor) -> Tensor:
        return self.fc1(x.mean(dim=(2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.extract_features(x)


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], tuple[nn.Module, Path]]:
    monkeypatch.setenv(store.PLACE_VARIABLE, str(tmp_path / "place"))

    def make(classes: int | None) -> tuple[nn.Module, Path]:
        network, path = Scripted(classes), tmp_path / "backbone.pth"
        torch.jit.save(torch.jit.script(network), str(path))
        store.trust(path)
        return network, path

    return make


@pytest.mark.filterwarnings("ignore:`torch.jit.(script|save|load)` is deprecated:DeprecationWarning")
def test_a_scripted_backbone_lends_its_last_layer(scripted) -> None:
    network, path = scripted(7)
    engine = TorchEngine(resolve("bundled", backbone=path))
    features = np.random.default_rng(0).random((3, 512), np.float32)
    with torch.inference_mode():
        expected = torch.softmax(network.fc2(torch.from_numpy(features)), dim=1).numpy()
    np.testing.assert_allclose(engine.classify_faces(features), expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit.(script|save|load)` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("classes", [None, 8], ids=["no last layer", "one for eight emotions"])
def test_a_backbone_without_its_last_layer_is_refused_when_static_is_asked_for(scripted, classes: int | None) -> None:
    _, path = scripted(classes)
    recognizer = EmotionRecognizer(weights="bundled", backbone=path)
    recognizer.open_stream()
    with pytest.raises(WrongArchitecture, match=r"backbone\.pth should be a backbone with a last layer fc2"):
        recognizer.open_stream(mode="static")
