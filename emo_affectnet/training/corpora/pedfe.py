"""PEDFE: short recordings of genuine and posed expressions, with what human raters saw in each. For judging only.

The name of a clip carries its labels; a table beside the clips, the owners' or one of columns path and hit_rate, says
which share of the raters named the emotion. https://doi.org/10.3758/s13428-022-01914-4
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePath

from ...emotions import Emotion
from .acted import Take, find_takes
from .clip import UNREADABLE_LINE, Choices, Clip, Corpus, Policy, Problem, Tell
from .tree import emotion_named, find_files, or_tell, read_columns

# Number of the speaker; emotion, by its Italian initial; genuine or simulated; number of the clip.
_NAME = re.compile(r"(\d{1,3})_([dfprst])([gs])_\d{1,3}")
_EMOTIONS = {
    "d": Emotion.Disgust,  # disgusto
    "f": Emotion.Happiness,  # felicità
    "p": Emotion.Fear,  # paura
    "r": Emotion.Anger,  # rabbia
    "s": Emotion.Surprise,  # sorpresa
    "t": Emotion.Sadness,  # tristezza
}
_KINDS = {"g": "genuine", "s": "posed"}
_BOTH = "both"
# Columns of the clip and of its hit rate in %: of the owners' table, and of one whose paths are relative to it.
_TABLES = (("pedfe_code", "hit rate emotion (%)"), ("path", "hit_rate"))


def _parse(path: Path) -> Take | None:
    match = _NAME.fullmatch(path.stem.casefold())
    if not match:
        return None
    label = f"{_KINDS[match[3]]} {_EMOTIONS[match[2]].name.lower()}"
    return Take(match[0], f"{int(match[1]):02d}", label, performance=match[0])


def _read_hit_rates(root: Path, tell: Tell) -> dict[str, float]:
    """Return the share of the raters who named a clip's emotion, by the clip's name; other tables are passed over."""
    rates: dict[str, float] = {}
    for table in find_files(root, {".csv"}, tell, depth=2):
        for where, cells in or_tell(table, read_columns(table, ()), tell):
            columns = next((pair for pair in _TABLES if cells.keys() >= set(pair)), None)
            if columns is None:
                break
            name, rate = (cells[column] for column in columns)
            try:
                rates[PurePath(name).stem.casefold()] = float(rate) / 100
            except ValueError:
                tell(Problem(UNREADABLE_LINE, where))
    return rates


def _find(root: Path, policies: Choices, tell: Tell) -> Iterator[Clip]:
    """Yield the clips, without an emotion those of another kind or with a lower hit rate than is asked for."""
    rates, least = _read_hit_rates(root, tell), float(policies["min_hit_rate"])
    takes = list(find_takes(root, tell, _parse))
    for path, take in takes:
        kind, word = take.label.split()
        if take.name not in rates:
            tell(Problem("no hit rate", str(path)))
        is_taken = policies["kind"] in (kind, _BOTH) and (not least or rates.get(take.name, 0.0) >= least)
        yield Clip("PEDFE", take.name, path, take.speaker, take.label, emotion_named(word) if is_taken else None)
    for name in sorted(rates.keys() - {take.name for _, take in takes}):
        tell(Problem("missing video", name))


PEDFE = Corpus(
    "PEDFE",
    "videos named by speaker, emotion, kind and number, such as 1_dg_1.avi, at any depth; with a table of hit rates",
    find_clips=_find,
    policies={
        "kind": Policy("Are genuine clips taken, posed ones, or both?", (_BOTH, "genuine", "posed"), _BOTH),
        "min_hit_rate": Policy("Which share of the human raters, at least, must have named the emotion?", (), "0"),
    },
    is_for_judging=True,
)
