"""Sibling models from the video to the report: the same road, with single faces averaged in the place of the heads."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from conftest import VIDEO_FOLDER, FakeDetector, crew_of
from sibling_files import TinyNetwork, build_model, save_onnx

from emo_affectnet import EmotionRecognizer, store
from emo_affectnet import recognizer as module
from emo_affectnet.batch import analyze
from emo_affectnet.catalogue import CATALOGUE
from emo_affectnet.cli import main, run
from emo_affectnet.emotions import EMOTION_NAMES
from emo_affectnet.engines import normalize_crops
from emo_affectnet.errors import CorruptWeights, MissingWeights, UnknownName, UsageError
from emo_affectnet.faces import crop
from emo_affectnet.feature_files import read_features
from emo_affectnet.inputs import Options
from emo_affectnet.reports import COLUMNS, read_csv
from emo_affectnet.video import read_frames
from emo_affectnet.zoo.adaptive import Thresholds, write_thresholds
from emo_affectnet.zoo.engagement import EngagementHead, spread_engagement
from emo_affectnet.zoo.hsemotion import SIBLINGS, softmax

NAME = "enet_b0_8_va_mtl"
MakeVideo = Callable[..., Path]


def put_into_store(name: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file take the place of a published one, whose hash nobody knows then."""
    entry = CATALOGUE[name]
    monkeypatch.setitem(CATALOGUE, name, replace(entry, filename=path.name, sha256=None, git_blob=None, size=None))
    store.import_file(path, trust=True)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyNetwork:
    """A random network under the name of a published one."""
    monkeypatch.setenv("EMO_AFFECTNET_WEIGHTS", str(tmp_path / "place"))
    network = TinyNetwork.random(SIBLINGS[NAME])
    put_into_store(NAME, save_onnx(tmp_path / f"{NAME}.onnx", build_model(network, SIBLINGS[NAME])), monkeypatch)
    return network


@pytest.fixture
def engagement(network: TinyNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path, random = tmp_path / "engagement_single_attention.h5", np.random.default_rng(0)
    shapes = {"e": (2560, 1), "hidden_FC": (2560, 512), "dense": (512, 2)}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in shapes]
        for name, shape in shapes.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/kernel:0".encode(), f"{name}/bias:0".encode()]
            group[f"{name}/kernel:0"] = random.normal(0, 0.02, shape).astype(np.float32)
            group[f"{name}/bias:0"] = np.zeros(shape[1], np.float32)
    put_into_store("engagement", path, monkeypatch)
    return path


def middle_face() -> Callable[..., FakeDetector]:
    return lambda confidence=None: FakeDetector()


@pytest.fixture
def one_face(monkeypatch: pytest.MonkeyPatch, in_this_process: None) -> None:
    monkeypatch.setitem(module.DETECTORS, "near-and-far", middle_face())


def judge(network: TinyNetwork, video: Path, *, indices: range) -> np.ndarray:
    """Return the model's outputs (N, 10) for the middle of frames, by plain PyTorch."""
    sibling = SIBLINGS[NAME]
    crops = [
        crop(frame.image, FakeDetector()(frame.image)[0].box, sibling.preprocessing)
        for frame in read_frames(video)
        if frame.index in indices
    ]
    return network.run(normalize_crops(np.stack(crops), sibling.preprocessing))[1]


def test_a_report_has_seven_emotions_that_sum_to_one_and_what_else_the_sibling_says(
    network: TinyNetwork, one_face: None, make_video: MakeVideo, tmp_path: Path
) -> None:
    video = make_video("a.mp4", frames=31)
    recognizer = EmotionRecognizer(backbone=NAME, smoothing=0)
    analyze([video], save=tmp_path / "report", crew=crew_of(recognizer))
    table = read_csv(tmp_path / "report" / "a.csv")
    assert tuple(table.columns) == (*COLUMNS, "Contempt", "valence", "arousal")
    scores = judge(network, video, indices=range(0, 31, 5))
    labels = list(SIBLINGS[NAME].labels)
    seven = softmax(scores[:, [labels.index(name) for name in EMOTION_NAMES]])
    held = np.arange(31) // 5  # every frame shows its sample
    np.testing.assert_allclose(table[list(EMOTION_NAMES)], seven[held], atol=1e-5)
    np.testing.assert_allclose(table["Contempt"], softmax(scores[:, :8])[held, labels.index("Contempt")], atol=1e-5)
    np.testing.assert_allclose(table[["valence", "arousal"]], scores[held, 8:], atol=1e-4)
    assert table["agreement"].isna().all()  # there are no heads to agree
    summary = pd.read_csv(tmp_path / "report" / "summary.csv").iloc[0]
    assert summary["valence"] == pytest.approx(table["valence"].mean(), abs=1e-5)


def test_smoothing_averages_the_samples_around_each(
    network: TinyNetwork, one_face: None, make_video: MakeVideo
) -> None:
    video = make_video("a.mp4", frames=60)
    plain, smooth = (EmotionRecognizer(backbone=NAME, smoothing=seconds).predict(video) for seconds in (0, 0.4))
    # the sample at frame 30 and its neighbours at 25 and 35, 0.2 s away
    np.testing.assert_allclose(smooth.probabilities[30], plain.probabilities[[25, 30, 35]].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(smooth.extras["arousal"][30], plain.extras["arousal"][[25, 30, 35]].mean(), atol=1e-6)


def test_a_video_without_a_face_has_the_same_columns_empty(
    network: TinyNetwork, make_video: MakeVideo, tmp_path: Path
) -> None:
    analyze(
        [make_video("a.mp4")], save=tmp_path / "report", crew=crew_of(EmotionRecognizer(backbone=NAME))
    )  # fmt: skip
    table = read_csv(tmp_path / "report" / "a.csv")
    assert table[["Contempt", "valence", "arousal", *EMOTION_NAMES]].isna().all(axis=None)


def test_the_stream_averages_single_faces_too(network: TinyNetwork, one_face: None, make_video: MakeVideo) -> None:
    video = make_video("a.mp4", frames=40)
    recognizer = EmotionRecognizer(backbone=NAME, smoothing=0.6)
    *_, (last,) = recognizer.stream(read_frames(video))
    assert last.index == 35
    plain = EmotionRecognizer(backbone=NAME, smoothing=0).predict(video)
    # the past only: the samples at 25, 30 and 35
    np.testing.assert_allclose(last.probabilities, plain.probabilities[[25, 30, 35]].mean(axis=0), atol=1e-5)


def test_the_studys_backbone_can_be_averaged_as_well(carphone: Path) -> None:
    recognizer = EmotionRecognizer(head="average", smoothing=1)
    assert (recognizer.heads, recognizer.settings["head"]) == (("average",), "average over 1 s")
    timeline = recognizer.predict(carphone)
    np.testing.assert_allclose(timeline.probabilities.sum(axis=1), 1, atol=1e-4)
    assert timeline.extras == {}


# Engagement


def test_engagement_looks_at_every_frame_and_adds_its_column(
    engagement: Path, one_face: None, make_video: MakeVideo, tmp_path: Path
) -> None:
    video = make_video("a.mp4", frames=140, size=(32, 32))
    recognizer = EmotionRecognizer(backbone=NAME, engagement=True)
    analyze([video], save=tmp_path / "report", crew=crew_of(recognizer))
    table = read_csv(tmp_path / "report" / "a.csv")
    assert tuple(table.columns) == (*COLUMNS, "Contempt", "valence", "arousal", "engagement")
    (track,) = recognizer.read(video).tracks
    assert track.features.shape == (140, 1280)
    expected = spread_engagement(EngagementHead(engagement).classify(track.features))
    np.testing.assert_allclose(table["engagement"], expected, atol=1e-5)


def test_a_face_seen_too_briefly_has_no_engagement_and_the_summary_says_why(
    engagement: Path, one_face: None, make_video: MakeVideo, tmp_path: Path
) -> None:
    recognizer = EmotionRecognizer(backbone=NAME, engagement=True)
    (outcome,) = analyze(
        [make_video("a.mp4", frames=100, size=(32, 32))], save=tmp_path / "report", crew=crew_of(recognizer)
    )
    assert read_csv(tmp_path / "report" / "a.csv")["engagement"].isna().all()
    assert outcome.status == "ok"
    assert outcome.message == "Engagement needs a face in 128 samples in a row, about 4 s; no face was seen so long."


def test_engagement_names_the_backbones_it_can_read() -> None:
    with pytest.raises(UsageError, match=r"1280 features .* mobile\.pt gives 512\. .* enet_b0_8_best_afew, "):
        EmotionRecognizer(engagement=True)


# Features in a file


@pytest.mark.parametrize("faces", ["primary", "all"])
def test_saved_features_are_those_of_everyone(fake_recognizer, make_video: MakeVideo, tmp_path: Path, faces) -> None:
    videos = [make_video(name, frames=20) for name in ("a.mp4", "b.mp4")]
    path = tmp_path / "features.npz"
    analyze(
        videos, save=tmp_path / "report", crew=crew_of(fake_recognizer), options=Options(faces=faces), features=path
    )
    saved = read_features(path)
    assert saved.names == ("a", "b")
    assert saved.origin.width == 512
    first = saved.read("a")
    assert first.indices.tolist() == [0, 5, 10, 15]
    assert first.people.tolist() == [1] * 4
    (track,) = fake_recognizer.read(videos[0]).tracks
    np.testing.assert_array_equal(first.features, track.features)
    assert saved.settings["head"] == "ensemble"


# Few frames


@pytest.fixture
def thresholds(tmp_path: Path) -> Path:
    path = tmp_path / "adaptive.json"
    write_thresholds(Thresholds(strides=(4, 1), thresholds=(0.5,), alpha=0.1, held_out=10), path)
    return path


def test_a_sure_video_is_judged_from_few_samples_and_the_summary_says_how_many(
    fake_recognizer, make_video: MakeVideo, tmp_path: Path, thresholds: Path
) -> None:
    video = make_video("a.mp4", frames=80)  # 16 samples; the fake's faces are Surprise with 0.7, above 0.5
    (outcome,) = analyze(
        [video], save=tmp_path / "report", crew=crew_of(fake_recognizer), options=Options(thresholds=thresholds)
    )  # fmt: skip
    assert (outcome.status, outcome.emotion) == ("ok", "Surprise")
    assert outcome.extras == {"samples_used": 4, "share_used": 0.25}
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["a.json", "summary.csv"]
    row = pd.read_csv(tmp_path / "report" / "summary.csv").iloc[0]
    assert (row["samples_used"], row["share_used"], row["Surprise"]) == (4, 0.25, pytest.approx(0.7))


def test_what_an_adaptive_analysis_cannot_give_is_refused(thresholds: Path) -> None:
    with pytest.raises(UsageError, match="no reports by frame: leave out"):
        Options(faces="all", thresholds=thresholds)


def test_a_file_that_holds_no_thresholds_leaves_nothing_behind(
    fake_recognizer, make_video: MakeVideo, tmp_path: Path
) -> None:
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(CorruptWeights, match="should be adaptive thresholds"):
        analyze(
            [make_video("a.mp4")],
            save=tmp_path / "report",
            crew=crew_of(fake_recognizer),
            options=Options(thresholds=tmp_path / "none.json"),
        )
    assert not (tmp_path / "report").exists()


def test_the_bundled_thresholds_are_for_the_bundled_backbone(tmp_path: Path) -> None:
    result = invoke(
        main, "analyze", VIDEO_FOLDER / "expressions.mp4", "--weights", "bundled", "--adaptive", "--save", tmp_path
    )
    assert result.exit_code == 0, result.output
    assert " frames looked at, " in result.output
    assert f"1 of 1 video summed up in {tmp_path / 'summary.csv'}.\n" in result.output


# The command line


def invoke(command, *words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def test_analyze_takes_a_sibling_by_its_name(
    network: TinyNetwork, one_face: None, make_video: MakeVideo, tmp_path: Path
) -> None:
    words = ("--backbone", NAME, "--smoothing", 1, "--format", "json", "--save-features", tmp_path / "f.npz")
    result = invoke(main, "analyze", make_video("a.mp4"), "--save", tmp_path / "report", *words)
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "report" / "a.json").read_text())
    assert document["head"] == "average"
    assert {"Contempt", "valence", "arousal"} <= set(document["frames"][0])
    assert read_features(tmp_path / "f.npz").origin.width == 1280


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        (("--backbone", "enet_b0_9"), UnknownName, "There is no backbone named 'enet_b0_9'; choose one of: enet_b0_8_"),
        (
            ("--backbone", "mine.onnx"),
            UsageError,
            "mine.onnx is ONNX, which is for other programs; give the file it was",
        ),
        (("--backbone", "enet_b0_7"), MissingWeights, "pickled module only, which can run code and is refused"),
        (("--backbone", NAME, "--engine", "tensorflow"), UsageError, "leave out engine"),
        (
            ("--backbone", NAME, "--head", "RAVDESS"),
            UsageError,
            "RAVDESS was asked for, but these weights have no heads",
        ),
        (("--weights", "bundled", "--smoothing", "1"), UsageError, "Smoothing is for single faces"),
        (("--head", "average", "--smoothing", "-1"), UsageError, "0 s or more, but -1.0 was given"),
        (("--thresholds", "a.json"), UsageError, "--thresholds belongs to --adaptive"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    network: TinyNetwork,
    in_this_process: None,
    make_video: MakeVideo,
    tmp_path: Path,
    words,
    error: type[Exception],
    sentence: str,
) -> None:
    result = invoke(main, "analyze", make_video("a.mp4"), "--save", tmp_path / "report", *words)
    assert result.exit_code == error.exit_code
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_a_sibling_that_was_not_fetched_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMO_AFFECTNET_WEIGHTS", str(tmp_path / "place"))
    with pytest.raises(MissingWeights, match="emo-affectnet weights fetch mbf_va_mtl"):
        EmotionRecognizer(backbone="mbf_va_mtl")


def test_the_published_command_reads_keras_files(tmp_path: Path, make_video: MakeVideo, monkeypatch) -> None:
    """run.py --path_FE_model X.h5 --path_LSTM_model Y.h5, as the original is called."""
    import keras_reference
    from network_files import random_backbone

    monkeypatch.setenv("EMO_AFFECTNET_WEIGHTS", str(tmp_path / "place"))
    model, head = keras_reference.build_backbone(), keras_reference.build_head()
    keras_reference.fill_backbone(model, random_backbone().state_dict())
    model.save(tmp_path / "X.h5")
    head.save(tmp_path / "Y.h5")
    files = ("--path_FE_model", tmp_path / "X.h5", "--path_LSTM_model", tmp_path / "Y.h5")
    video = make_video("a.mp4", frames=10)
    result = invoke(run, "--path_video", video, "--path_save", tmp_path / "report", *files)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "report" / "a.csv").is_file()
