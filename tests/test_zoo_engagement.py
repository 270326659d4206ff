"""The rolling engagement network says what a literal one says, and keeps its memory small."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from emo_affectnet.errors import CorruptWeights, MissingWeights, UsageError, WrongArchitecture
from emo_affectnet.zoo.engagement import ENGAGEMENT_WINDOW, Engagement, EngagementHead, spread_engagement

Weights = dict[str, tuple[np.ndarray, ...]]


def make_weights(seed: int = 0, *, attention: float = 0.05, hidden: float = 0.02) -> Weights:
    """Random kernels and biases; `attention` and `hidden` are the spread of those kernels."""
    random = np.random.default_rng(seed)

    def draw(spread: float, *shape: int) -> np.ndarray:
        return random.normal(0, spread, shape).astype(np.float32)

    return {
        "e": (draw(attention, 2560, 1), draw(1, 1)),
        "hidden_FC": (draw(hidden, 2560, 512), draw(0.1, 512)),
        "dense": (draw(0.1, 512, 2), draw(0.1, 2)),
    }


def write_weights(path: Path, weights: Weights) -> Path:
    """Write the layout of Keras 2: <layer>/<layer>/kernel:0 and bias:0."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in weights]
        for layer, arrays in weights.items():
            group = file.create_group(layer)
            names = [f"{layer}/{kind}:0" for kind in ("kernel", "bias")]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, arrays, strict=True):
                group.create_dataset(name, data=array)
    return path


def run_literally(weights: Weights, features: np.ndarray) -> np.ndarray:
    """Do what the layers say, window by window, in float64."""
    (score, score_bias), (hidden, hidden_bias), (last, last_bias) = (
        [array.astype(np.float64) for array in layer] for layer in weights.values()
    )
    windows = np.lib.stride_tricks.sliding_window_view(features.astype(np.float64), ENGAGEMENT_WINDOW, axis=0)
    probabilities = []
    for window in windows.transpose(0, 2, 1):  # (128, 1280) each
        rows = np.concatenate([np.tile(window.std(axis=0), (ENGAGEMENT_WINDOW, 1)), window], axis=1)  # (128, 2560)
        attention = softmax((rows @ score + score_bias)[:, 0])  # (128,)
        context = np.maximum(attention @ rows @ hidden + hidden_bias, 0)  # (512,)
        probabilities.append(softmax(context @ last + last_bias))
    return np.array(probabilities)


def softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


@pytest.fixture
def open_head(tmp_path: Path) -> Callable[[Weights], EngagementHead]:
    return lambda weights: EngagementHead(write_weights(tmp_path / "engagement.h5", weights))


def ordinary(count: int, random: np.random.Generator) -> np.ndarray:
    return random.normal(0, 0.5, (count, 1280)).astype(np.float32)


def leaping(count: int, random: np.random.Generator) -> np.ndarray:
    """A few first frames far from all others, which hardly differ: a running sum of squares would lose them."""
    far = np.where(np.arange(count) < 5, 1000.0, 1.0)[:, None]
    return (far + random.normal(0, 1e-3, (count, 1280))).astype(np.float32)


CASES = {
    "ordinary features": (ordinary, {}),
    "attention spread over many frames": (ordinary, {"attention": 0.01}),
    "scores some hundreds apart, so that one frame takes all": (ordinary, {"attention": 20.0}),
    "large features": (lambda count, random: 1000 * ordinary(count, random), {"hidden": 2e-5}),
    "constant features": (lambda count, random: np.full((count, 1280), 3.7, np.float32), {}),
    "a leap among still frames": (leaping, {"hidden": 1e-3}),
}


@pytest.mark.parametrize(("make_features", "spreads"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_rolling_windows_say_what_materialised_ones_say(
    open_head: Callable[[Weights], EngagementHead], make_features, spreads: dict[str, float], seed: int
) -> None:
    weights = make_weights(seed, **spreads)
    features = make_features(300, np.random.default_rng(seed))
    expected = run_literally(weights, features)
    found = open_head(weights).classify(features)
    assert (found.dtype, found.shape) == (np.float32, (173, 2))
    assert 0.001 < expected.min() < 0.999  # or nothing would be compared
    np.testing.assert_allclose(found, expected, atol=1e-6)


# 128 frames are one window, which the published code leaves out; 639 and 640 straddle what is worked on at once.
@pytest.mark.parametrize("count", [128, 129, 255, 256, 257, 639, 640, 700])
def test_every_window_is_read_to_the_last(open_head: Callable[[Weights], EngagementHead], count: int) -> None:
    weights, features = make_weights(), ordinary(count, np.random.default_rng(count))
    found = open_head(weights).classify(features)
    assert len(found) == count - 127
    some = [*range(0, len(found), 61), len(found) - 1]
    for window in some:
        np.testing.assert_allclose(found[window], run_literally(weights, features[window : window + 128])[0], atol=1e-6)


def test_the_first_column_is_distracted_and_the_second_engaged(
    open_head: Callable[[Weights], EngagementHead],
) -> None:
    assert [(each.name, each.value) for each in Engagement] == [("Distracted", 0), ("Engaged", 1)]
    weights = make_weights()
    weights["dense"] = (np.zeros((512, 2), np.float32), np.array([0, 3], np.float32))
    found = open_head(weights).classify(ordinary(128, np.random.default_rng(0)))
    assert found[0].tolist() == pytest.approx([1 / (1 + np.exp(3)), 1 / (1 + np.exp(-3))])


def test_the_same_probabilities_come_from_the_graph_in_keras(tmp_path: Path) -> None:
    import keras_reference  # noqa: F401  # sets TensorFlow up; loads it, which takes seconds
    from keras import Model, layers

    frames = layers.Input((ENGAGEMENT_WINDOW, 2560))
    scores = layers.Reshape((ENGAGEMENT_WINDOW,))(layers.Dense(1, name="e")(frames))
    alpha = layers.Reshape((ENGAGEMENT_WINDOW, 1))(layers.Softmax(name="alpha")(scores))
    context = layers.Dot(axes=1, name="context")([alpha, frames])  # (1, 2560)
    hidden = layers.Dense(512, activation="relu", name="hidden_FC")(layers.Flatten()(context))
    model = Model(frames, layers.Dense(2, activation="softmax", name="dense")(hidden))
    model.save(tmp_path / "whole.h5")

    features = ordinary(140, np.random.default_rng(3))
    windows = np.stack([features[start : start + 128] for start in range(13)])
    deviations = np.repeat(windows.std(axis=1, keepdims=True), ENGAGEMENT_WINDOW, axis=1)
    expected = model(np.concatenate([deviations, windows], axis=2), training=False).numpy()
    np.testing.assert_allclose(EngagementHead(tmp_path / "whole.h5").classify(features), expected, atol=1e-5)


def test_eighteen_thousand_frames_stay_under_300_megabytes(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "engagement.h5", make_weights())
    script = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parents[1] / "benchmarks")!r})
import numpy as np
from measurement import peak_memory
from emo_affectnet.zoo.engagement import EngagementHead
features = np.random.default_rng(0).random((18_000, 1280), np.float32)
found = EngagementHead({str(path)!r}).classify(features)
print(json.dumps([len(found), features.nbytes, peak_memory()]))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    windows, size, peak = json.loads(done.stdout)
    assert (windows, size) == (17_873, 92_160_000)
    assert peak < 300e6


def test_a_frame_has_the_mean_of_the_windows_that_cover_it() -> None:
    engaged = np.random.default_rng(0).random(300).astype(np.float32)
    found = spread_engagement(np.stack([1 - engaged, engaged], axis=1))
    expected = [engaged[max(frame - 127, 0) : frame + 1].mean() for frame in range(427)]
    assert (found.dtype, found.shape) == (np.float32, (427,))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_two_windows_are_spread_over_129_frames() -> None:
    found = spread_engagement(np.array([[0.8, 0.2], [0.4, 0.6]], np.float32))
    assert found[[0, 1, 127, 128]].tolist() == pytest.approx([0.2, 0.4, 0.4, 0.6])
    assert len(found) == 129


def test_no_window_has_no_frames() -> None:
    assert spread_engagement(np.empty((0, 2), np.float32)).shape == (0,)


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (np.zeros((127, 1280), np.float32), r"at least 128 frames .* but there are 127; give a longer video"),
        (np.zeros((0, 1280), np.float32), r"but there are 0;"),
        (
            np.zeros((200, 1408), np.float32),
            r"features \(N, 1280\), but they are \(200, 1408\); .* begins with enet_b0",
        ),
        (np.zeros(1280, np.float32), r"but they are \(1280,\)"),
    ],
)
def test_unfit_features_are_refused(
    open_head: Callable[[Weights], EngagementHead], features: np.ndarray, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        open_head(make_weights()).classify(features)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused_with_their_frame(
    open_head: Callable[[Weights], EngagementHead], value: float
) -> None:
    features = np.zeros((1500, 1280), np.float32)
    features[1300, 7] = value
    with pytest.raises(UsageError, match="those of frame 1300 are not"):
        open_head(make_weights()).classify(features)


def test_another_network_is_refused_by_its_layers(tmp_path: Path) -> None:
    weights = make_weights()
    other = weights | {"dense": (np.zeros((512, 7), np.float32), np.zeros(7, np.float32))}
    with pytest.raises(WrongArchitecture, match=r"but it has .*dense \(512, 7\) \(7,\)\. Give engagement_single"):
        EngagementHead(write_weights(tmp_path / "seven.h5", other))
    more = weights | {f"dense_{number}": weights["dense"] for number in range(5)}
    with pytest.raises(WrongArchitecture, match=r"dense_0 \(512, 2\) \(2,\) and 4 more\. Give"):
        EngagementHead(write_weights(tmp_path / "more.h5", more))


def test_what_is_no_keras_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights):
        EngagementHead(tmp_path / "missing.h5")
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(CorruptWeights):
        EngagementHead(damaged)
