"""The sibling models: their records, labels by name, scores in our terms, and the class that answers as hsemotion's."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sibling_files import TinyNetwork, build_model, random_mobilenet, save_mobilenet, save_onnx

from emo_affectnet import store
from emo_affectnet.emotions import EMOTION_NAMES, Emotion
from emo_affectnet.engines import Engine, normalize_crops
from emo_affectnet.errors import (
    MissingWeights,
    UnknownName,
    UntrustedWeights,
    UsageError,
)
from emo_affectnet.zoo import hsemotion
from emo_affectnet.zoo.hsemotion import (
    BATCH_CROPS,
    SIBLINGS,
    UNAVAILABLE,
    HSEmotionRecognizer,
    Sibling,
    SiblingEngine,
    open_sibling,
    softmax,
    to_seven,
)

ROUNDING = {"rtol": 1e-4, "atol": 1e-5}  # other runtimes sum in another order
EVERY = {**SIBLINGS, **UNAVAILABLE}
OF_ONNX = [sibling for sibling in EVERY.values() if sibling.format == "ONNX"]
ALPHABETICAL = ["Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"]


def by_name(siblings: list[Sibling]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("sibling", siblings, ids=lambda sibling: sibling.name)


def make_crops(sibling: Sibling, count: int = 3) -> np.ndarray:
    size = sibling.preprocessing.input_size
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder whose files count as vouched for, with a store of its own."""
    monkeypatch.setenv(store.PLACE_VARIABLE, str(tmp_path / "store"))
    monkeypatch.setattr(store, "check_trust", lambda path: None)
    return tmp_path


# Records


@pytest.mark.parametrize(
    ("name", "size", "width", "outputs"),
    [  # the authors' table of models
        ("enet_b0_8_best_afew", 224, 1280, 8),
        ("enet_b0_8_best_vgaf", 224, 1280, 8),
        ("enet_b0_8_va_mtl", 224, 1280, 10),
        ("enet_b2_7", 260, 1408, 7),
        ("enet_b2_8", 260, 1408, 8),
        ("mbf_va_mtl", 112, 512, 10),
        ("mobilevit_va_mtl", 224, 768, 10),
        ("mobilenet_7", 224, 1024, 7),
        ("enet_b2_8_best", 260, 1408, 8),
    ],
)
def test_record_has_the_published_sizes(name: str, size: int, width: int, outputs: int) -> None:
    sibling = SIBLINGS[name]
    assert (sibling.preprocessing.input_size, sibling.feature_width, sibling.outputs) == (size, width, outputs)
    assert len(SIBLINGS) == 9


def test_labels_are_alphabetical_with_contempt_second_where_there_are_eight() -> None:
    for sibling in SIBLINGS.values():
        expected = (
            ALPHABETICAL if "_8" in sibling.name or "_va_" in sibling.name else ALPHABETICAL[:1] + ALPHABETICAL[2:]
        )
        assert list(sibling.labels) == expected, sibling.name


def test_one_model_without_onnx_has_the_order_of_affectnet() -> None:
    assert list(UNAVAILABLE["enet_b0_8_best"].labels) == [*EMOTION_NAMES, "Contempt"]
    assert list(UNAVAILABLE["enet_b0_7"].labels) == sorted(EMOTION_NAMES)


def test_catalogue_has_a_file_for_each_sibling() -> None:
    from emo_affectnet.catalogue import CATALOGUE

    assert {name for name, entry in CATALOGUE.items() if entry.kind == "sibling"} == set(SIBLINGS)
    for name, sibling in SIBLINGS.items():
        assert CATALOGUE[name].filename == f"{name}{'.h5' if sibling.format == 'Keras' else '.onnx'}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # of the pixel (R, G, B) = (255, 128, 0), by hand
        ("enet_b0_8_best_vgaf", (2.2489, 0.2052, -1.8044)),  # (1 - 0.485) / 0.229, (0.50196 - 0.456) / 0.224, ...
        ("mbf_va_mtl", (1.0, 0.0039, -1.0)),  # (1 - 0.5) / 0.5, ...
        ("mobilenet_7", (151.061, 11.221, -123.68)),  # 255 - 103.939, 128 - 116.779, 0 - 123.68
    ],
)
def test_pixel_becomes_the_published_input(name: str, expected: tuple[float, ...]) -> None:
    preprocessing = SIBLINGS[name].preprocessing
    pixel = np.array([255, 128, 0], np.uint8)[None, None, None]
    x = normalize_crops(pixel, preprocessing)
    np.testing.assert_allclose(x[0, :, 0, 0], expected, atol=5e-5)
    assert (preprocessing.interpolation, preprocessing.crop_margin) == ("linear", (0, 0, 0, 0))


# Networks from ONNX


@by_name(OF_ONNX)
def test_features_and_scores_are_those_of_the_whole_graph(tmp_path: Path, sibling: Sibling) -> None:
    import onnxruntime

    network = TinyNetwork.random(sibling)
    path = save_onnx(tmp_path / "sibling.onnx", build_model(network, sibling))
    engine, crops = SiblingEngine(path, sibling), make_crops(sibling)
    features = engine.embed(crops)
    x = normalize_crops(crops, sibling.preprocessing)
    expected_features, expected_scores = network.run(x)
    assert (features.shape, features.dtype) == ((3, sibling.feature_width), np.float32)
    np.testing.assert_allclose(features, expected_features, **ROUNDING)
    np.testing.assert_allclose(engine.score(features), expected_scores, **ROUNDING)
    whole = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": x})[0]
    np.testing.assert_allclose(engine.score(features), whole, **ROUNDING)
    assert engine.score(features).dtype == np.float32


@by_name(list(EVERY.values()))
def test_image_made_for_a_label_gets_our_emotion_of_that_name(tmp_path: Path, sibling: Sibling) -> None:
    count = len(sibling.labels)
    reds = np.linspace(145, 250, count).astype(np.uint8)
    means, stds = sibling.preprocessing.mean, sibling.preprocessing.std
    levels = (reds - np.float32(means[0])) / np.float32(stds[0])
    path = save_by_red(tmp_path, sibling, levels)
    engine = SiblingEngine(path, sibling)
    size = sibling.preprocessing.input_size
    crops = np.zeros((count, size, size, 3), np.uint8)
    crops[..., 0] = reds[:, None, None]
    scores = engine.score(engine.embed(crops))
    assert [sibling.labels[column] for column in scores[:, :count].argmax(axis=1)] == list(sibling.labels)
    probabilities = engine.classify_faces(engine.embed(crops))
    for label, row in zip(sibling.labels, probabilities, strict=True):
        if label in EMOTION_NAMES:
            assert str(Emotion(row.argmax())) == label


def save_by_red(folder: Path, sibling: Sibling, levels: np.ndarray) -> Path:
    """Write a sibling whose label hangs on the image's red alone."""
    if sibling.format == "ONNX":
        return save_onnx(folder / "red.onnx", build_model(TinyNetwork.by_red(sibling, levels), sibling))
    network = random_mobilenet()
    with torch.no_grad():
        for name, layer in network.layers.items():
            norm, kernel = layer.batch_norm, layer.convolution.weight
            norm.running_mean[:], norm.running_var[:], norm.bias[:], kernel[:] = 0, 1 - norm.eps, 0, 0
            norm.weight[:] = 1
            kernel[0, 0, kernel.shape[2] // 2, kernel.shape[3] // 2] = (
                1 / 50 if name == "conv1" else 1
            )  # below ReLU's 6
        feats, last = network.denses["feats"], network.denses["emotion_preds"]
        for dense in (feats, last):
            dense.weight[:], dense.bias[:] = 0, 0
        feats.weight[0, 0] = 50
        last.weight[:, 0] = torch.from_numpy(2 * levels)
        last.bias[:] = torch.from_numpy(-(levels**2))
    return save_mobilenet(folder / "red.h5", network)


def test_labels_taken_by_number_would_name_other_emotions() -> None:
    # The mistake this guards against: column 4 is Happiness there and Fear here.
    seven, eight = SIBLINGS["enet_b2_7"].labels, SIBLINGS["enet_b2_8"].labels
    scores = np.eye(7, dtype=np.float32) * 9
    probabilities = to_seven(scores, SIBLINGS["enet_b2_7"]).probabilities
    assert [str(Emotion(column)) for column in probabilities.argmax(axis=1)] == list(seven)
    wrong = [number for number in range(7) if seven[number] != Emotion(number).name]
    assert wrong == list(range(7))
    assert [number for number in range(7) if eight[number] == Emotion(number).name] == []


def test_permuted_columns_with_permuted_labels_mean_the_same() -> None:
    from dataclasses import replace

    random = np.random.default_rng(0)
    sibling = SIBLINGS["enet_b0_8_va_mtl"]
    scores = random.normal(0, 2, (5, 10)).astype(np.float32)
    order = random.permutation(8)
    other = replace(sibling, labels=tuple(sibling.labels[column] for column in order))
    one, two = to_seven(scores, sibling), to_seven(scores[:, [*order, 8, 9]], other)
    np.testing.assert_allclose(one.probabilities, two.probabilities, rtol=1e-6)
    np.testing.assert_allclose(one.extras["Contempt"], two.extras["Contempt"], rtol=1e-6)


# From scores to our terms


def test_contempt_is_left_out_of_the_seven_and_told_apart() -> None:
    # ln of shares: Contempt 0.6, Anger 0.3, Surprise 0.1, and next to nothing of the others.
    scores = np.full((1, 8), -50, np.float32)
    scores[0, [1, 0, 7]] = np.log([0.6, 0.3, 0.1])
    result = to_seven(scores, SIBLINGS["enet_b0_8_best_vgaf"])
    assert result.probabilities.shape == (1, 7)
    assert result.probabilities.dtype == np.float32
    np.testing.assert_allclose(result.probabilities[0, [Emotion.Anger, Emotion.Surprise]], [0.75, 0.25], rtol=1e-6)
    assert list(result.extras) == ["Contempt"]
    np.testing.assert_allclose(result.extras["Contempt"], [0.6], rtol=1e-6)


def test_valence_and_arousal_stay_as_they_are() -> None:
    scores = np.zeros((2, 10), np.float32)
    scores[:, 8:] = [[-1.5, 0.25], [0.5, 1.75]]  # unbounded: neither clipped nor softmaxed
    result = to_seven(scores, SIBLINGS["mbf_va_mtl"])
    assert list(result.extras) == ["Contempt", "valence", "arousal"]
    np.testing.assert_array_equal(result.extras["valence"], np.float32([-1.5, 0.5]))
    np.testing.assert_array_equal(result.extras["arousal"], np.float32([0.25, 1.75]))
    np.testing.assert_allclose(result.extras["Contempt"], [1 / 8, 1 / 8])
    np.testing.assert_allclose(result.probabilities, np.full((2, 7), 1 / 7))


def test_seven_labels_have_no_extras() -> None:
    assert to_seven(np.zeros((1, 7), np.float32), SIBLINGS["enet_b2_7"]).extras == {}


@by_name(list(EVERY.values()))
def test_rows_sum_to_one_even_for_large_logits(sibling: Sibling) -> None:
    scores = np.random.default_rng(0).normal(0, 300, (20, sibling.outputs)).astype(np.float32)
    result = to_seven(scores, sibling)
    np.testing.assert_allclose(result.probabilities.sum(axis=1), np.ones(20), atol=1e-6)
    assert tuple(result.extras) == sibling.extra_columns
    assert all((column.shape, column.dtype) == ((20,), np.float32) for column in result.extras.values())


# The engine


@pytest.fixture(scope="module")
def mtl(tmp_path_factory: pytest.TempPathFactory) -> SiblingEngine:
    sibling = SIBLINGS["mbf_va_mtl"]
    path = tmp_path_factory.mktemp("mtl") / "mbf_va_mtl.onnx"
    return SiblingEngine(save_onnx(path, build_model(TinyNetwork.random(sibling), sibling)), sibling)


def test_sibling_is_an_engine(mtl: SiblingEngine) -> None:
    engine: Engine = mtl
    assert engine.heads == ()
    assert engine.backbone.name == "mbf_va_mtl.onnx"
    assert engine.preprocessing is SIBLINGS["mbf_va_mtl"].preprocessing
    assert engine.extra_columns == ("Contempt", "valence", "arousal")
    features = engine.embed(make_crops(mtl.sibling))
    assert engine.classify_faces(features).shape == (3, 7)
    assert tuple(engine.extras(features)) == engine.extra_columns


def test_batches_equal_singles(mtl: SiblingEngine) -> None:
    crops = make_crops(mtl.sibling, count=BATCH_CROPS + 3)
    singles = np.concatenate([mtl.embed(crop[None]) for crop in crops])
    np.testing.assert_allclose(mtl.embed(crops), singles, **ROUNDING)


def test_no_more_than_a_batch_is_normalized_at_once(mtl: SiblingEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def normalize(crops: np.ndarray, preprocessing: object) -> np.ndarray:
        sizes.append(len(crops))
        return normalize_crops(crops, preprocessing)

    monkeypatch.setattr(hsemotion, "normalize_crops", normalize)
    mtl.embed(make_crops(mtl.sibling, count=2 * BATCH_CROPS + 1))
    assert sizes == [BATCH_CROPS, BATCH_CROPS, 1]


def test_no_faces_give_empty_results(mtl: SiblingEngine) -> None:
    features = mtl.embed(make_crops(mtl.sibling, count=0))
    assert (features.shape, features.dtype) == ((0, 512), np.float32)
    assert mtl.classify_faces(features).shape == (0, 7)
    assert mtl.extras(features)["valence"].shape == (0,)


def test_windows_are_refused(mtl: SiblingEngine) -> None:
    with pytest.raises(UsageError, match="No temporal head belongs to the backbone mbf_va_mtl.*averaged over time"):
        mtl.classify(np.zeros((1, 10, 512), np.float32))


# Opening by name


def test_open_by_name_takes_the_file_of_the_store(trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sibling = SIBLINGS["enet_b2_7"]
    path = save_onnx(trusted / "enet_b2_7.onnx", build_model(TinyNetwork.random(sibling), sibling))
    monkeypatch.setattr(store, "locate", {"enet_b2_7": path}.__getitem__)
    engine = open_sibling("enet_b2_7")
    assert (engine.backbone, engine.sibling) == (path, sibling)


def test_sibling_that_is_not_here_says_how_to_get_it(trusted: Path) -> None:
    with pytest.raises(MissingWeights, match="weights fetch enet_b0_8_best_vgaf"):
        open_sibling("enet_b0_8_best_vgaf")


def test_file_of_ones_own_needs_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store.PLACE_VARIABLE, str(tmp_path / "store"))
    sibling = SIBLINGS["enet_b2_7"]
    path = save_onnx(tmp_path / "mine.onnx", build_model(TinyNetwork.random(sibling), sibling))
    with pytest.raises(UntrustedWeights):
        open_sibling("enet_b2_7", path=path)
    store.trust(path)
    assert open_sibling("enet_b2_7", path=path).backbone == path


def test_unknown_sibling_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="no sibling model named 'enet_b9'.*enet_b0_8_best_afew, .*mobilenet_7"):
        open_sibling("enet_b9")


@by_name(list(UNAVAILABLE.values()))
def test_model_without_onnx_says_why_and_opens_when_converted(trusted: Path, sibling: Sibling) -> None:
    with pytest.raises(MissingWeights, match=f"{sibling.name} was published as a pickled module.*Convert it to ONNX"):
        open_sibling(sibling.name)
    path = save_onnx(trusted / "converted.onnx", build_model(TinyNetwork.random(sibling), sibling))
    assert open_sibling(sibling.name, path=path).sibling is sibling


# The class that answers as hsemotion's


@pytest.fixture(scope="module")
def recognizers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], HSEmotionRecognizer]:
    folder = tmp_path_factory.mktemp("recognizers")

    def make(name: str) -> HSEmotionRecognizer:
        path = folder / f"{name}.onnx"
        save_onnx(path, build_model(TinyNetwork.random(EVERY[name]), EVERY[name]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "check_trust", lambda path: None)
            return HSEmotionRecognizer(name, path=path)

    return make


def make_images() -> list[np.ndarray]:
    random = np.random.default_rng(2)
    return [random.integers(0, 256, shape, np.uint8) for shape in ((90, 60, 3), (224, 224, 3), (31, 300, 3))]


def test_results_have_the_known_shapes_and_labels(recognizers) -> None:
    recognizer = recognizers("enet_b0_8_best_vgaf")
    images = make_images()
    assert recognizer.idx_to_class == dict(enumerate(ALPHABETICAL))
    assert recognizer.extract_features(images[0]).shape == (1, 1280)
    assert recognizer.extract_multi_features(images).shape == (3, 1280)
    label, scores = recognizer.predict_emotions(images[0])
    labels, many = recognizer.predict_multi_emotions(images)
    assert label == labels[0] == ALPHABETICAL[scores.argmax()]
    assert (scores.shape, many.shape) == ((8,), (3, 8))
    np.testing.assert_allclose(scores, many[0], **ROUNDING)


def test_logits_become_probabilities_and_valence_stays(recognizers) -> None:
    recognizer = recognizers("enet_b0_8_va_mtl")
    labels, scores = recognizer.predict_multi_emotions(make_images())
    same, shares = recognizer.predict_multi_emotions(make_images(), logits=False)
    assert (labels, scores.shape) == (same, (3, 10))
    np.testing.assert_allclose(shares[:, :8], softmax(scores[:, :8]), rtol=1e-6)
    np.testing.assert_array_equal(shares[:, 8:], scores[:, 8:])
    label, one = recognizer.predict_emotions(make_images()[0], False)  # as its users call it
    assert (label, one.shape) == (labels[0], (10,))
    np.testing.assert_allclose(one[:8].sum(), 1, atol=1e-6)


def test_valence_never_is_the_label(tmp_path: Path, trusted: Path) -> None:
    sibling = SIBLINGS["mbf_va_mtl"]
    network = TinyNetwork.random(sibling)
    network.weights[8:], network.bias[8:] = 0, 100
    path = save_onnx(tmp_path / "high.onnx", build_model(network, sibling))
    label, scores = HSEmotionRecognizer("mbf_va_mtl", path=path).predict_emotions(make_images()[0])
    assert label == ALPHABETICAL[scores[:8].argmax()]
    np.testing.assert_array_equal(scores[8:], [100, 100])


def test_image_is_stretched_bilinearly_to_the_square(recognizers, monkeypatch: pytest.MonkeyPatch) -> None:
    recognizer = recognizers("mbf_va_mtl")
    seen = []
    monkeypatch.setattr(recognizer._engine, "embed", lambda crops: seen.append(crops) or np.zeros((1, 512), np.float32))
    image = np.zeros((56, 224, 3), np.uint8)
    image[:, :112, 0] = 200
    recognizer.extract_features(image)
    (crops,) = seen
    assert (crops.shape, crops.dtype) == ((1, 112, 112, 3), np.uint8)
    np.testing.assert_array_equal(crops[0, :, :56, 0], np.full((112, 56), 200))  # half the width is red still
    assert not crops[0, :, 56:].any()


def test_views_of_an_array_are_images_too(recognizers) -> None:
    recognizer = recognizers("mbf_va_mtl")
    bgr = make_images()[0]
    as_rgb = bgr[..., ::-1]
    np.testing.assert_array_equal(recognizer.extract_features(as_rgb), recognizer.extract_features(as_rgb.copy()))


@pytest.mark.parametrize(
    ("image", "came"),
    [
        (np.zeros((9, 9, 3), np.float32), r"an array \(9, 9, 3\) of float32"),
        (np.zeros((9, 9), np.uint8), r"an array \(9, 9\) of uint8"),
        (np.zeros((9, 9, 4), np.uint8), r"an array \(9, 9, 4\) of uint8"),
        (np.zeros((0, 9, 3), np.uint8), r"an array \(0, 9, 3\) of uint8"),
        ("face.jpg", "a str"),
    ],
    ids=["float", "grey", "alpha", "empty", "path"],
)
def test_what_is_no_image_is_a_usage_error(recognizers, image: object, came: str) -> None:
    with pytest.raises(UsageError, match=f"an array \\(H, W, 3\\) of uint8, 0-255, in RGB, but {came} came"):
        recognizers("mbf_va_mtl").predict_emotions(image)


def test_empty_list_and_other_device_are_usage_errors(recognizers) -> None:
    with pytest.raises(UsageError, match="at least one image of a face, but the list is empty"):
        recognizers("mbf_va_mtl").predict_multi_emotions([])
    with pytest.raises(UsageError, match="run on the CPU, not on 'cuda'"):
        HSEmotionRecognizer("mbf_va_mtl", device="cuda")


def test_default_model_is_that_of_the_package(trusted: Path) -> None:
    with pytest.raises(MissingWeights, match="enet_b0_8_best_vgaf"):
        HSEmotionRecognizer()
