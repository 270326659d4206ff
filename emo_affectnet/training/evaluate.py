"""Scores of weights on labelled media: heads on the corpora they never saw, backbones on faces.

A clip that has one label is one item, and its emotion is that of a report, see `answers`. Where every frame has its own
label, a labelled frame is an item, and its emotion that of the report's row. An item without a face counts as wrong.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..emotions import Emotion
from ..engines import REFERENCE, Engine, open_engine, softmax
from ..errors import CorpusError, UsageError
from ..faces import Image
from ..networks import load_head
from ..timeline import Floats, Integers
from ..weight_sets import Weights
from ..weights import WeightFile, hash_file, read_preprocessing, read_record, verify
from .clip_tables import Part, score_parts
from .corpora.clip import Problem, Scan, Tell
from .corpora.pictures import check_split
from .features import UNREADABLE, ClipFeatures, CorpusFeatures
from .judgements import judge, judge_with_baselines, scored_clips
from .metrics import Scores, confusion_by_cluster, expected_calibration_error, summarise
from .readers import Classifier, ClipReading, Progress, Reader, read_by_averaging, read_classifier, read_with_heads
from .results import HEAD, SIMULATED, EvaluationResult, SystemResult
from .views import cut_whole


def score_with_baselines(
    corpus: CorpusFeatures, reader: Reader, *, seeds: Sequence[Reader] = (), classifier: Classifier
) -> list[SystemResult]:
    """Score heads beside averaged frames and the majority class.

    `seeds` read with the same heads, trained anew from other seeds; `reader` is one of them.
    """
    clips = scored_clips(corpus)
    by_reader = {each: each(clips) for each in dict.fromkeys((reader, *seeds))}
    heads, *others = judge_with_baselines(corpus, by_reader[reader], classifier=classifier)
    uars = [judge(corpus, HEAD, by_reader[seed]).score().scores.uar for seed in seeds]
    return [heads.score(seeds=uars), *(each.score() for each in others)]


@dataclass(frozen=True, eq=False)
class ClipsEvaluation:
    """What heads make of labelled clips, beside baselines, with seven and with six answers."""

    clips: tuple[ClipFeatures, ...]
    readings: tuple[ClipReading, ...]  # of the heads
    result: EvaluationResult
    parts: tuple[Part, ...]  # scores for each value of the columns that were asked for


def evaluate_clips(
    corpus: CorpusFeatures,
    *,
    heads: Sequence[Path],
    backbone: Path,
    title: str,
    by: Sequence[str] = (),
    on_progress: Progress = lambda done, total: None,
) -> ClipsEvaluation:
    """Score the mean of `heads` on the clips of a corpus, and for each value of the columns `by` of their table.

    Without heads, single faces are averaged.

    Raises:
        WeightsError: a weight file is missing, damaged or another network's.
        UnknownName, UsageError: a column is not there, or has too many values.
    """
    classifier, readings = read_classifier(backbone), None
    if heads:
        readings = read_with_heads([load_head(file) for file in heads], on_progress=on_progress)(corpus.clips)
    judgements = judge_with_baselines(corpus, readings, classifier=classifier)
    results = [each.score(answers=answers) for each in judgements for answers in each.answer_counts()]
    return ClipsEvaluation(
        corpus.clips,
        tuple(readings or read_by_averaging(classifier)(corpus.clips)),
        collect(results, {corpus.name: corpus}, weights=[backbone, *heads], title=title),
        tuple(part for column in by for part in score_parts(corpus.clips, judgements, column)),
    )


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
