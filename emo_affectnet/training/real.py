"""Real people: labelled clips of many speakers in, every figure of the model card about real recordings out.

The folder is laid out as PEDFE's: `clips.csv` (or `labels.csv`) with the columns path, emotion and speaker, perhaps
`hit_rate` (% of human raters who named the emotion), and perhaps `py_feat.csv` with another program's mean
probabilities for each path. Nothing is trained or tuned here. A clip without a face counts as wrong everywhere.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..answers import find_peak
from ..emotions import EMOTION_NAMES, Emotion
from ..errors import CorpusError, UsageError
from ..networks import load_head
from ..timeline import Doubles, Integers
from ..weights import read_record
from .features import ClipFeatures, CorpusFeatures
from .judgements import Judgement, choose_answers, judge, judge_majority
from .metrics import NO_FACE, SHAPE, Difference, Interval, cluster_bootstrap, paired_bootstrap
from .readers import ClipReading, Progress, read_by_averaging, read_classifier, read_with_heads
from .results import SystemResult
from .treatments import System, read_probabilities, take_off_person, take_off_run
from .trust import Separation, separate

ENSEMBLE, FACES, PEER = "heads", "averaged faces", "py-feat"  # systems
RATERS = "human raters"
AS_IS, RUN, PERSON = "as it is", "minus run's mean", "minus person's"  # treatments
TREATMENTS = (AS_IS, RUN, PERSON)
ANSWERS = (len(Emotion), len(Emotion) - 1)  # with Neutral, and without
OTHERS = (1, 2, 4, 8, 16)  # clips of the same person in a baseline
TABLES, PEER_TABLE = ("clips.csv", "labels.csv"), "py_feat.csv"
AGREEMENT, TOP, MARGIN = "agreement", "top probability", "margin"  # measures


@dataclass(frozen=True, eq=False)
class Figure:
    """The scores of one system after one treatment."""

    treatment: str  # one of TREATMENTS
    others: int | None  # clips of the person in the baseline, at most; None: all of them, or none is needed
    result: SystemResult


@dataclass(frozen=True, eq=False)
class Trust:
    """How well a measure separates right answers from wrong ones, after one treatment."""

    treatment: str
    answers: int  # how many emotions might be chosen
    separation: Separation


@dataclass(frozen=True, eq=False)
class RealEvaluation:
    """All figures about one set of real recordings."""

    corpus: CorpusFeatures
    reported: str  # what reports show: the ensemble of the heads, or single faces where there are none
    readings: tuple[ClipReading, ...]  # of that system, as it is
    figures: tuple[Figure, ...]
    curve: tuple[Figure, ...]  # of OTHERS
    leads: Mapping[tuple[str, int], Difference]  # of the ensemble, if any, over single faces, by treatment and answers
    peaks: tuple[Figure, ...]  # the peak's emotion, of six
    peak_leads: Mapping[str, Difference]  # of the peak over the emotion of six, by treatment
    raters: tuple[float, Interval] | None  # their mean share of hits over the emotions
    trust: tuple[Trust, ...]  # of the reported system
    moves_features: bool  # whether the backbone's record has the mean feature that baselines need


def find_table(folder: Path) -> Path:
    """Return the table of the clips in a folder.

    Raises:
        CorpusError: there is none.
    """
    for name in TABLES:
        if (folder / name).is_file():
            return folder / name
    raise CorpusError(f"Expected {' or '.join(TABLES)} in {folder}, but neither is there. Give PEDFE's folder.")


def evaluate_real(
    corpus: CorpusFeatures,
    *,
    folder: Path,
    heads: Sequence[Path],
    backbone: Path,
    on_progress: Progress = lambda done, total: None,
) -> RealEvaluation:
    """Score heads, single faces, the peer and human raters on the clips of a folder, which were read into `corpus`.

    Raises:
        WeightsError: a weight file is missing, damaged or another network's.
        CorpusError: the peer's table is none.
        UsageError: no clip shows a face, or nobody is in two clips.
    """
    if len({clip.speaker for clip in corpus.clips}) == len(corpus.clips):
        raise UsageError("Expected several clips of each speaker, but each clip has one of its own. Name the speakers.")
    ensemble = read_with_heads([load_head(file) for file in heads], on_progress=on_progress)
    readers = ({ENSEMBLE: ensemble} if heads else {}) | {FACES: read_by_averaging(read_classifier(backbone))}
    systems = [System(name, corpus.clips, tuple(read(corpus.clips)), read) for name, read in readers.items()]
    peer = _read_peer(folder / PEER_TABLE, corpus)
    systems += [System(PEER, corpus.clips, peer, None)] if peer else []
    record = read_record(backbone)
    mean = record.feature_mean if record else None
    reference = None if mean is None else np.array(mean, dtype=np.float64)
    treated = {
        (system.name, treatment): readings for system in systems for treatment, readings in _treat(system, reference)
    }
    judged = {key: judge(corpus, key[0], readings) for key, readings in treated.items()}
    figures = [figure for (_, treatment), each in judged.items() for figure in _score(each, treatment)]
    reported = systems[0].name
    peaks = {treatment: _judge_peaks(corpus, treated[reported, treatment]) for treatment in TREATMENTS}
    return RealEvaluation(
        corpus,
        reported,
        tuple(treated[reported, AS_IS]),
        (*figures, *_score(judge_majority(judged[reported, AS_IS]), AS_IS)),
        tuple(figure for system in systems for figure in _draw_curve(system, reference)),
        {
            (treatment, answers): _compare(judged[FACES, treatment], judged[ENSEMBLE, treatment], answers)
            for treatment in TREATMENTS
            for answers in ANSWERS
            if heads
        },
        tuple(Figure(treatment, None, each.score(answers=ANSWERS[1])) for treatment, each in peaks.items()),
        {treatment: _compare(judged[reported, treatment], each, ANSWERS[1]) for treatment, each in peaks.items()},
        _score_raters(corpus),
        tuple(
            trust
            for treatment in TREATMENTS
            for trust in _measure_trust(corpus, treatment, treated[reported, treatment])
        ),
        moves_features=reference is not None,
    )


def _treat(system: System, reference: Doubles | None) -> Iterator[tuple[str, Sequence[ClipReading]]]:
    yield AS_IS, system.readings
    yield RUN, take_off_run(system)
    yield PERSON, take_off_person(system, reference=reference)


def _score(judgement: Judgement, treatment: str, *, others: int | None = None) -> list[Figure]:
    return [Figure(treatment, others, judgement.score(answers=answers)) for answers in ANSWERS]


def _draw_curve(system: System, reference: Doubles | None) -> Iterator[Figure]:
    corpus = CorpusFeatures("", system.clips)
    for count in OTHERS:
        readings = take_off_person(system, reference=reference, count=count)
        yield from _score(judge(corpus, system.name, readings), PERSON, others=count)


def _compare(a: Judgement, b: Judgement, answers: int) -> Difference:
    return paired_bootstrap(a.score(answers=answers).confusions, b.score(answers=answers).confusions)


def _judge_peaks(corpus: CorpusFeatures, readings: Sequence[ClipReading]) -> Judgement:
    """Return a judgement by the peak's emotion, with which a clip's probabilities are those of its strongest frame."""
    rows = np.full((len(readings), len(Emotion)), np.nan, np.float32)
    for row, reading in zip(rows, readings, strict=True):
        peak = find_peak(reading.probabilities, np.arange(len(reading.probabilities), dtype=np.float64))
        if peak is not None:
            row[:] = np.arange(len(Emotion)) == peak.emotion
    return replace(judge(corpus, "peak", readings), probabilities=rows)


def _read_peer(path: Path, corpus: CorpusFeatures) -> tuple[ClipReading, ...]:
    """Return what the peer's table says of each clip, or nothing if there is no table."""
    if not path.is_file():
        return ()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            found = {
                row["path"]: np.array([float(row[name]) for name in EMOTION_NAMES]) for row in csv.DictReader(file)
            }
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise CorpusError(f"Expected the columns path and {', '.join(EMOTION_NAMES)} in {path}: {error}.") from error
    return tuple(read_probabilities(found.get(clip.name)) for clip in corpus.clips)


def _score_raters(corpus: CorpusFeatures) -> tuple[float, Interval] | None:
    """Return the mean over the emotions of the raters' share of hits, with its interval; None if it is not known."""
    speakers = sorted({clip.speaker for clip in corpus.clips})
    counts = np.zeros((len(speakers), *SHAPE))  # clips, split by the share of raters who were right
    for clip in corpus.clips:
        try:
            share = float(clip.columns.get("hit_rate", "")) / 100
        except ValueError:
            return None
        counts[speakers.index(clip.speaker), clip.label, [clip.label, NO_FACE]] += share, 1 - share
    whole = counts.sum(axis=0)
    support = whole.sum(axis=1)
    return float((np.diagonal(whole)[support > 0] / support[support > 0]).mean()), cluster_bootstrap(counts)


def _measure_trust(corpus: CorpusFeatures, treatment: str, readings: Sequence[ClipReading]) -> Iterator[Trust]:
    """Yield how well each measure separates right answers from wrong ones, over the clips with a face."""
    seen = [pair for pair in zip(corpus.clips, readings, strict=True) if len(pair[1].reported)]
    if not seen:
        return
    clips: tuple[ClipFeatures, ...] = tuple(clip for clip, _ in seen)
    truth: Integers = np.array([clip.label for clip in clips], dtype=np.int64)
    means = np.stack([reading.means for _, reading in seen]).astype(np.float32)
    agreement = np.array([reading.agreement for _, reading in seen], dtype=np.float64)  # NaN with a single head
    for answers in ANSWERS:
        chosen = means[:, -answers:].astype(np.float64)  # Neutral comes first
        ranked = np.sort(chosen / chosen.sum(axis=1, keepdims=True), axis=1)
        is_right = choose_answers(means, answers=answers) == truth
        values = {AGREEMENT: agreement, TOP: ranked[:, -1], MARGIN: ranked[:, -1] - ranked[:, -2]}
        for measure, each in values.items():
            if np.isnan(each).any():
                continue
            yield Trust(
                treatment, answers, separate(measure, each, is_right, speakers=[clip.speaker for clip in clips])
            )
