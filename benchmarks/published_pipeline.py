"""The published pipeline step by step: the yardstick of `speed.py`.

Written from the description of the original `run.py`; none of its code is here. For each video it builds the detector
and both networks anew, reads every frame with OpenCV and looks for faces in every frame; it keeps the crops of the
samples as float32, embeds them all in one batch, and gives all windows to one head in one call.

Where it differs it is faster or fails less than the original: MediaPipe's detector takes the place of RetinaFace, the
best face of a frame counts rather than the worst kept one, and a sample is told from other frames by its number rather
than by a search through a list. Faces are cut out as the weights' record asks, so that both sides can be compared.
Importing this module loads TensorFlow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
from measurement import Stopwatch

from emo_affectnet.detection import DETECTORS
from emo_affectnet.emotions import EMOTION_NAMES
from emo_affectnet.engines import normalize_crops
from emo_affectnet.faces import Image, crop
from emo_affectnet.keras_graph import build_backbone, build_head, fill_backbone, fill_head, load_file
from emo_affectnet.networks import export_arrays, read_backbone, read_head
from emo_affectnet.weights import Preprocessing

Floats = npt.NDArray[np.float32]

SAMPLE_HZ, WINDOW, STEP = 5, 10, 5  # samples per second, samples in a window, samples from one to the next


@dataclass(frozen=True, eq=False)
class Analysis:
    """What the published steps make of a video."""

    windows: Floats  # (W, 7) probabilities
    seconds: dict[str, float]  # by stage


def write_keras_files(backbone: Path, head: Path, *, folder: Path) -> tuple[Path, Path]:
    """Write a backbone and a head as Keras files, as the published weights are, and return their paths."""
    files = folder / f"{backbone.stem}.weights.h5", folder / f"{head.stem}.weights.h5"
    networks = build_backbone(), build_head()
    fill_backbone(networks[0], export_arrays(read_backbone(backbone)))
    fill_head(networks[1], export_arrays(read_head(head)))
    for network, file in zip(networks, files, strict=True):
        network.save_weights(file)
    return files


def analyze(video: Path, *, backbone: Path, head: Path, preprocessing: Preprocessing, save: Path) -> Analysis:
    """Analyse a video by the published steps with weights in Keras files, and write the CSV `save`."""
    watch = Stopwatch()
    crops, frame_count = _read_crops(video, preprocessing, watch)
    with watch.stage("load networks"):
        static = build_backbone(preprocessing.input_size)
        load_file(static, backbone)
        extract = keras.Model(static.input, static.get_layer("features").output)
        temporal = build_head()
        load_file(temporal, head)
    with watch.stage("embed"):
        features = extract(np.stack(list(crops.values()))).numpy()  # (N, 512)
    with watch.stage("classify"):
        rows = _list_windows(len(features))
        windows = temporal(np.stack([features[row] for row in rows])).numpy()  # (W, 7)
    with watch.stage("write"):
        _write(save, windows, rows=rows, samples=list(crops), frame_count=frame_count)
    return Analysis(windows, watch.seconds)


def _read_crops(video: Path, preprocessing: Preprocessing, watch: Stopwatch) -> tuple[dict[int, Floats], int]:
    """Return the network's input (S, S, 3) by frame number, 1-based, and how many frames there are."""
    with watch.stage("load detector"):
        detect = DETECTORS["short-range"]()
    capture = cv2.VideoCapture(str(video))
    stride = round(round(capture.get(cv2.CAP_PROP_FPS)) / SAMPLE_HZ)
    crops: dict[int, Floats] = {}
    number = 0
    while True:
        with watch.stage("decode"):
            is_read, picture = capture.read()
        if not is_read:
            break
        number += 1
        with watch.stage("detect"):
            image = cast(Image, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
            faces = detect(image)
        with watch.stage("crop"):
            if faces and (number - 1) % stride == 0:
                face = crop(image, faces[0].box, preprocessing)
                crops[number] = normalize_crops(face[None], preprocessing)[0].transpose(1, 2, 0)
    capture.release()
    return crops, number


def _list_windows(count: int) -> list[list[int]]:
    """Return the samples of each window; one that is too short repeats the last sample."""
    return [[min(start + place, count - 1) for place in range(WINDOW)] for start in range(0, count, STEP)]


def _write(
    path: Path, windows: Floats, *, rows: Sequence[Sequence[int]], samples: Sequence[int], frame_count: int
) -> None:
    """Write a row per frame: the mean of the windows over it, and the last window after the last sample."""
    spans = [np.arange(samples[row[0]], samples[row[-1]] + 1) for row in rows]
    spans.append(np.arange(samples[-1] + 1, frame_count + 1))
    values = np.repeat([*windows, windows[-1]], [len(span) for span in spans], axis=0)
    table = pd.DataFrame(values, columns=list(EMOTION_NAMES))
    table.insert(0, "frame", np.concatenate(spans))
    table = table.groupby("frame", as_index=False).mean()
    table["frame"] = table["frame"].map("{:06d}".format)
    table.to_csv(path, index=False)
