"""Results of an evaluation: what each system made of each corpus, in a file from which every score can be computed.

The file, `results.json`:

| key | meaning |
|---|---|
| `format` | FORMAT |
| `version` | of this package |
| `title`, `notes` | what was evaluated, and what a reader must know |
| `emotions` | the seven, in the order of the confusion matrices' rows and columns |
| `policies` | for each corpus, the choice made for each open question of how to read it |
| `weights` | SHA-256 of each weight file that was used |
| `results` | one entry for each system on each corpus, with the fields of SystemResult |
| `results[].confusions` | for each speaker or video by name: 7 rows (truth) of 8 counts (prediction, last: no face) |

It holds no score: the tables, which do, are made from it by `tables.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..emotions import EMOTION_NAMES
from ..errors import ReportError, UsageError
from ..files import whole_file
from ..timeline import Integers
from .metrics import (
    SHAPE,
    Difference,
    Interval,
    Scores,
    cluster_bootstrap,
    holm,
    paired_bootstrap,
    summarise,
)

FORMAT = "emo_affectnet evaluation 1"
UNITS = ("clip", "frame")
CLUSTERS = ("speaker", "video")
HEAD = "head"  # the system whose scores stand beside the published ones
SIMULATED = "simulated "  # begins the name of a corpus that is not the real one

# In %, leave-one-corpus-out, from the README of the published system. It does not say whether the whole corpus or a
# part was scored, nor how IEMOCAP and RAMAS were labelled; another source has 52.9 for Aff-Wild2.
PUBLISHED_UAR = {
    "Aff-Wild2": 51.6,
    "RAVDESS": 65.8,
    "CREMA-D": 60.6,
    "SAVEE": 76.1,
    "RAMAS": 44.3,
    "IEMOCAP": 25.1,
}


@dataclass(frozen=True, eq=False)
class SystemResult:
    """What one system made of one corpus, counted by speaker or video."""

    corpus: str
    system: str  # such as "head", "averaged frames" or "majority class"
    unit: str  # what was scored: one of UNITS
    cluster: str  # what items are not independent within: one of CLUSTERS
    clusters: tuple[str, ...]  # (K,) names
    confusions: Integers  # int64 (K, 7, 8), true emotion by predicted emotion; last column: no face
    answers: int = len(EMOTION_NAMES)  # how many emotions might be chosen; one fewer: all but Neutral
    seeds: tuple[float, ...] = ()  # UAR of each training seed, where there were several

    def __post_init__(self) -> None:
        if self.unit not in UNITS or self.cluster not in CLUSTERS:
            raise UsageError(
                f"{self.corpus}: the unit is one of {', '.join(UNITS)} and the cluster one of {', '.join(CLUSTERS)}, "
                f"not {self.unit} and {self.cluster}."
            )
        if self.confusions.shape != (len(self.clusters), *SHAPE) or self.confusions.dtype.kind != "i":
            raise UsageError(
                f"{self.corpus}: expected whole numbers of the shape {(len(self.clusters), *SHAPE)}, one confusion "
                f"matrix for each {self.cluster}, not {self.confusions.dtype} {self.confusions.shape}."
            )
        if (self.confusions < 0).any() or not self.confusions.any():
            raise UsageError(f"{self.corpus}: a confusion matrix counts items; none may be negative, nor all be 0.")
        if len(set(self.clusters)) < len(self.clusters):
            raise UsageError(f"{self.corpus}: two {self.cluster}s have the same name.")

    @property
    def key(self) -> tuple[str, str, int]:
        """What no two results of an evaluation share: the corpus, the system, and how many answers it may give."""
        return self.corpus, self.system, self.answers

    @property
    def confusion(self) -> Integers:
        """The confusion matrix of the whole corpus, int64 (7, 8)."""
        return np.asarray(self.confusions.sum(axis=0), np.int64)

    @cached_property
    def interval(self) -> Interval:
        """The 95 % interval of the UAR, from resampled clusters."""
        return cluster_bootstrap(self.confusions)

    @property
    def scores(self) -> Scores:
        """The scores of the whole corpus."""
        return summarise(self.confusion)

    @property
    def is_simulated(self) -> bool:
        """Whether the corpus only bears a real one's name."""
        return self.corpus.startswith(SIMULATED)

    @property
    def published_uar(self) -> float | None:
        """The published UAR of the same head on the same corpus, as a share."""
        is_like = self.system == HEAD and self.answers == len(EMOTION_NAMES)
        percent = PUBLISHED_UAR.get(self.corpus) if is_like else None
        return None if percent is None else percent / 100


@dataclass(frozen=True)
class EvaluationResult:
    """Everything that one evaluation found, and on what it rests."""

    title: str
    results: tuple[SystemResult, ...]
    policies: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # corpus -> policy -> choice
    weights: Mapping[str, str] = field(default_factory=dict)  # file name -> SHA-256
    notes: tuple[str, ...] = ()
    version: str = __version__

    def __post_init__(self) -> None:
        names = [result.key for result in self.results]
        if not names or len(set(names)) < len(names):
            raise UsageError("An evaluation has at least one result, and one for each system on each corpus.")


@dataclass(frozen=True)
class Comparison:
    """Two evaluations of the same system on the same items of one corpus."""

    corpus: str
    system: str
    answers: int  # how many emotions might be chosen
    difference: Difference
    p_holm: float  # corrected for the number of corpora


def compare_results(a: EvaluationResult, b: EvaluationResult) -> list[Comparison]:
    """Compare every system on every corpus that both evaluations have, with p values corrected over the corpora.

    Raises:
        UsageError: they have none in common, or one was not scored on the same items.
    """
    others = {each.key: each for each in b.results}
    pairs = [(each, others[each.key]) for each in a.results if each.key in others]
    if not pairs:
        raise UsageError(f"{a.title!r} and {b.title!r} have no system on the same corpus in common.")
    found = []
    for system, answers in dict.fromkeys((each.system, each.answers) for each, _ in pairs):
        same = [pair for pair in pairs if (pair[0].system, pair[0].answers) == (system, answers)]
        differences = [_compare(*pair) for pair in same]
        corrected = holm([difference.p for difference in differences])
        for (each, _), difference, p in zip(same, differences, corrected, strict=True):
            found.append(Comparison(each.corpus, system, answers, difference, p))
    return found


def _compare(a: SystemResult, b: SystemResult) -> Difference:
    if set(a.clusters) != set(b.clusters):
        raise UsageError(f"{a.corpus}, {a.system}: the two evaluations are not of the same {a.cluster}s.")
    order = [b.clusters.index(name) for name in a.clusters]
    try:
        return paired_bootstrap(a.confusions, b.confusions[order])
    except UsageError as error:
        raise UsageError(f"{a.corpus}, {a.system}: {error}") from error


def write_json(result: EvaluationResult, path: Path) -> None:
    """Write results.json; it appears complete or not at all.

    Raises:
        ReportError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_text(_to_json(_to_document(result)) + "\n", encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror or error}.") from error


def _to_document(result: EvaluationResult) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": result.version,
        "title": result.title,
        "notes": list(result.notes),
        "emotions": list(EMOTION_NAMES),
        "policies": {corpus: dict(choices) for corpus, choices in result.policies.items()},
        "weights": dict(result.weights),
        "results": [
            {
                "corpus": each.corpus,
                "system": each.system,
                "unit": each.unit,
                "cluster": each.cluster,
                "answers": each.answers,
                "seeds": list(each.seeds),
                "confusions": dict(zip(each.clusters, each.confusions.tolist(), strict=True)),
            }
            for each in result.results
        ],
    }


def _to_json(value: object, indent: str = "\n") -> str:
    """Return JSON in which everything without a mapping inside is on one line, as each matrix is."""
    deeper = indent + " "
    if isinstance(value, dict) and value:
        items = [f"{json.dumps(key)}: {_to_json(item, deeper)}" for key, item in value.items()]
        return "{" + deeper + ("," + deeper).join(items) + indent + "}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[" + deeper + ("," + deeper).join(_to_json(item, deeper) for item in value) + indent + "]"
    return json.dumps(value)


def read_results(path: Path) -> EvaluationResult:
    """Read results.json, or the one in a folder.

    Raises:
        ReportError: the file cannot be read, or is something else.
    """
    path = path / "results.json" if path.is_dir() else path
    try:
        return _from_document(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (AttributeError, KeyError, TypeError, ValueError, UsageError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ReportError(f"{path} should be the results.json of an evaluation, but: {reason}") from error


def _from_document(document: Any) -> EvaluationResult:
    if document["format"] != FORMAT or document["emotions"] != list(EMOTION_NAMES):
        raise ValueError(f"its format is not {FORMAT!r} with the emotions {', '.join(EMOTION_NAMES)}.")
    return EvaluationResult(
        title=_text(document["title"]),
        results=tuple(_to_result(entry) for entry in document["results"]),
        policies={corpus: _texts(choices) for corpus, choices in document["policies"].items()},
        weights=_texts(document["weights"]),
        notes=tuple(map(_text, document["notes"])),
        version=_text(document["version"]),
    )


def _to_result(entry: Any) -> SystemResult:
    confusions = entry["confusions"]
    return SystemResult(
        corpus=_text(entry["corpus"]),
        system=_text(entry["system"]),
        unit=entry["unit"],
        cluster=entry["cluster"],
        clusters=tuple(confusions),
        answers=int(entry.get("answers", len(EMOTION_NAMES))),  # which earlier files do not have
        confusions=np.array(list(confusions.values())),
        seeds=tuple(map(float, entry["seeds"])),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} should be text.")
    return value


def _texts(values: Any) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items()}
