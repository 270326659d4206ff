"""Scores of weights on labelled media: heads on the corpora they never saw, backbones on faces.

A clip that has one label is one item, and its emotion the largest sum over its windows. Where every frame has its own
label, a labelled frame is an item, and its emotion that of the report's row. An item without a face counts as wrong.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from ..emotions import Emotion
from ..engines import REFERENCE, Engine, open_engine, softmax
from ..errors import CorpusError, UsageError
from ..faces import Image
from ..networks import load_head, read_backbone
from ..timeline import Floats, Integers, spread
from ..weight_sets import Weights
from ..weights import WeightFile, hash_file, read_preprocessing, read_record, verify
from .corpora.clip import Problem, Scan, Tell
from .corpora.pictures import check_split
from .features import UNREADABLE, ClipFeatures, CorpusFeatures, track_windows
from .fit import cut_whole
from .heads import Head, predict_windows
from .metrics import NO_FACE, Scores, confusion_by_cluster, expected_calibration_error, summarise, uar
from .results import HEAD, SIMULATED, EvaluationResult, SystemResult

AVERAGE, MAJORITY = "averaged frames", "majority class"

Reader = Callable[[ClipFeatures], Integers]  # a clip to the emotion of each of its items
Classifier = Callable[[Floats], Floats]  # features (..., 512) to probabilities (..., 7)


def read_classifier(backbone: Path) -> Classifier:
    """Return the backbone's own last layer, which reads one face at a time.

    Raises:
        WeightsError: `backbone` is no state dict of one.
    """
    layer = read_backbone(backbone).fc2

    def classify(features: Floats) -> Floats:
        with torch.inference_mode():
            probabilities: Floats = torch.softmax(layer(torch.from_numpy(features)), dim=-1).numpy()
        return probabilities

    return classify


def read_with_heads(heads: Sequence[Head]) -> Reader:
    """Return what reads a clip with the mean of `heads`, as the recognizer does."""

    def read(clip: ClipFeatures) -> Integers:
        windows = track_windows(clip)
        return _decide(clip, np.mean([predict_windows(head, windows.features) for head in heads], axis=0))

    return read


def read_by_averaging(classifier: Classifier) -> Reader:
    """Return what averages the classifier's softmax: over a clip, or over each window if frames are scored."""

    def read(clip: ClipFeatures) -> Integers:
        if clip.frame_labels is None:
            return _decide(clip, classifier(clip.features))
        return _decide(clip, classifier(track_windows(clip).features).mean(axis=1))

    return read


def _decide(clip: ClipFeatures, probabilities: Floats) -> Integers:
    """Return the emotion of each item of a clip from probabilities (W, 7), of its windows or samples."""
    if clip.frame_labels is None:
        found = int(probabilities.sum(axis=0).argmax()) if len(probabilities) else NO_FACE
        return np.array([found], dtype=np.int64)
    rows = spread(track_windows(clip), probabilities, frame_count=len(clip.frame_labels))
    emotions = np.where(np.isnan(rows[:, 0]), NO_FACE, np.nan_to_num(rows).argmax(axis=1))
    seen = np.ones(len(emotions), dtype=bool) if clip.observed is None else clip.observed
    return np.where(seen, emotions, NO_FACE)[clip.frame_labels >= 0]


def _truth(clip: ClipFeatures) -> Integers:
    if clip.frame_labels is None:
        return np.array([clip.label], dtype=np.int64)
    return clip.frame_labels[clip.frame_labels >= 0]


def scored_clips(corpus: CorpusFeatures) -> tuple[ClipFeatures, ...]:
    """Return the clips to score: those of the validation part, if the corpus itself has one, or else all."""
    validation = tuple(clip for clip in corpus.clips if "valid" in (clip.split or "").lower())
    return validation or corpus.clips


def score(corpus: CorpusFeatures, system: str, reader: Reader, *, seeds: Sequence[Reader] = ()) -> SystemResult:
    """Score what `reader` makes of a corpus; `seeds` read with the same system, trained anew from other seeds."""
    clips = scored_clips(corpus)
    truths = [_truth(clip) for clip in clips]
    truth = np.concatenate(truths)
    speakers = [clip.speaker for clip, items in zip(clips, truths, strict=True) for _ in items]
    by_frame = any(clip.frame_labels is not None for clip in clips)

    @cache  # the reader that is scored is one of the seeds'
    def predict(reader: Reader) -> Integers:
        return np.concatenate([reader(clip) for clip in clips])

    names, confusions = confusion_by_cluster(truth, predict(reader), speakers)
    return SystemResult(
        corpus=corpus.title,
        system=system,
        unit="frame" if by_frame else "clip",
        cluster="video" if by_frame else "speaker",
        clusters=tuple(names),
        confusions=confusions,
        seeds=tuple(uar(truth, predict(seed)) for seed in seeds),
    )


def score_with_baselines(
    corpus: CorpusFeatures, reader: Reader, *, seeds: Sequence[Reader] = (), classifier: Classifier
) -> list[SystemResult]:
    """Score heads beside averaged frames and the majority class."""
    labels = np.concatenate([_truth(clip) for clip in scored_clips(corpus)])
    majority = int(np.bincount(labels, minlength=len(Emotion)).argmax())
    return [
        score(corpus, HEAD, reader, seeds=seeds),
        score(corpus, AVERAGE, read_by_averaging(classifier)),
        score(corpus, MAJORITY, lambda clip: np.full(len(_truth(clip)), majority)),
    ]


def evaluate_loco(
    corpora: Mapping[str, CorpusFeatures], *, find_head: Callable[[str], Path], backbone: Path
) -> EvaluationResult:
    """Score the head that `find_head` gives for each corpus on the corpus that it is named after and never saw.

    Raises:
        MissingWeights: there is no head for a corpus.
        UsageError: a head's record says that it was trained on the corpus it would be scored on.
    """
    classifier = read_classifier(backbone)
    files = {name: find_head(name) for name in corpora}
    results = []
    for name, corpus in corpora.items():
        _refuse_seen(verify(files[name]), corpus)
        results += score_with_baselines(corpus, read_with_heads([load_head(files[name])]), classifier=classifier)
    return collect(results, corpora, weights=[backbone, *files.values()])


def _refuse_seen(record: WeightFile | None, corpus: CorpusFeatures) -> None:
    if record and corpus.title in record.trained_on:
        raise UsageError(
            f"The head {record.filename} was trained on {corpus.title}; its score there would say nothing. Give the "
            "head that never saw it."
        )


def collect(
    results: Sequence[SystemResult],
    corpora: Mapping[str, CorpusFeatures],
    *,
    weights: Sequence[Path],
    title: str = "Leave one corpus out",
) -> EvaluationResult:
    """Return results with all that they rest on: policies, weights, and what could not be scored."""
    lost = {corpus.title: sum(problem.kind == UNREADABLE for problem in corpus.problems) for corpus in corpora.values()}
    notes = [
        f"{name}: {count} videos could not be read; their clips are not scored."
        for name, count in lost.items()
        if count
    ]
    records = [record for path in weights if (record := read_record(path))]
    if any(source.startswith(SIMULATED) for record in records for source in record.trained_on):
        notes.append("The heads were trained on simulated corpora.")
    return EvaluationResult(
        title=title,
        results=tuple(results),
        policies={corpus.title: corpus.policies for corpus in corpora.values()},
        weights={path.name: hash_file(path) for path in weights},
        notes=tuple(notes),
    )


@dataclass(frozen=True, eq=False)
class FaceScores:
    """How a static classifier does on labelled faces, one view each."""

    backbone: Path
    engine: str
    precision: str
    confusion: Integers  # (7, 8), true emotion by predicted emotion
    calibration_error: float  # expected, of the probabilities as they are
    uncalibrated_error: float | None  # before the temperature in the backbone's record; None: it names none

    @property
    def name(self) -> str:
        """The backbone's file, and what ran it if that was not PyTorch."""
        runs = [] if self.engine == REFERENCE else [self.engine]
        return ", ".join([self.backbone.name, *runs, *([] if self.precision == "fp32" else [self.precision])])

    @property
    def scores(self) -> Scores:
        """The scores of all faces."""
        return summarise(self.confusion)


def judge_faces(engine: Engine, images: Iterable[Image]) -> Floats:
    """Return the probabilities (N, 7) of images that a face fills, uint8 (H, W) or (H, W, 3): one view of each."""
    parts = [np.empty((0, len(Emotion)), np.float32)]
    for crops in cut_whole(images, engine.preprocessing):
        coloured = np.repeat(crops[..., None], 3, axis=-1) if crops.ndim == 3 else crops
        parts.append(engine.classify_faces(engine.embed(coloured)))
    return np.concatenate(parts)


def evaluate_faces(
    backbone: Path, faces: Iterable[tuple[Image, int]], *, engine: str = REFERENCE, precision: str = "fp32"
) -> FaceScores:
    """Score the backbone's own classifier on images that a face fills, uint8 (H, W) or (H, W, 3), with their labels.

    Raises:
        UnknownName, EngineUnavailable, UsageError: as `open_engine`.
        WeightsError: `backbone` is no backbone.
        CorpusError: there is no face.
    """
    record = read_record(backbone)
    preprocessing = read_preprocessing(backbone)
    if record is None:  # a published one, whose published check took the nearest pixel, as its videos did not
        preprocessing = replace(preprocessing, interpolation="nearest")
    seen: list[int] = []

    def images() -> Iterator[Image]:
        for image, label in faces:
            seen.append(label)
            yield image

    opened = open_engine(Weights(backbone, {}, preprocessing), engine=engine, precision=precision)
    probabilities = judge_faces(opened, images())
    labels = np.array(seen, dtype=np.int64)
    temperature = record.temperature if record else None
    _, confusions = confusion_by_cluster(labels, probabilities.argmax(axis=1), [""] * len(labels))
    with np.errstate(divide="ignore"):
        logits = np.log(probabilities)
    return FaceScores(
        backbone,
        engine,
        precision,
        confusions[0],
        expected_calibration_error(probabilities, labels),
        None if temperature is None else expected_calibration_error(softmax(logits * temperature), labels),
    )


def open_images(
    scan: Scan, *, split: str | None = None, tell: Tell = lambda problem: None
) -> Iterator[tuple[Image, int]]:
    """Yield the images of a scan that have one of the seven emotions, with it; one that cannot be read is a problem.

    Raises:
        CorpusError: the scan is of a corpus of videos.
        UnknownName: the corpus has no such split.
    """
    check_split(scan, split)
    for image in scan.images:
        if image.emotion is not None and split in (None, image.split):
            try:
                yield image.read(), int(image.emotion)
            except CorpusError as error:
                tell(Problem("unreadable image", str(error)))
