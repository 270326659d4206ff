"""The corpora: where each keeps its labels, and how a file name or a table row becomes an emotion and a speaker.

`scan("RAVDESS", root)` finds the labelled clips or images below a folder that the user has got from the owners; nothing
is downloaded. To add a corpus is to write a `Corpus` and to list it in `CORPORA`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from ...errors import CorpusError, UsageError, check_name
from .acted import AFEW, CREMAD, RAVDESS, SAVEE
from .affwild2 import AFFWILD2
from .clip import (
    UNKNOWN_NAME,
    UNREADABLE_LINE,
    UNREADABLE_TABLE,
    Choices,
    Clip,
    Corpus,
    LabelledImage,
    Policy,
    Problem,
    Scan,
    Tell,
)
from .fer2013 import FER2013
from .ferplus import (
    FERPLUS,
    FERPLUS_COLUMNS,
    FERPLUS_LICENSE,
    FERPLUS_PREPROCESSING,
    FERPLUS_SPLITS,
    count_votes,
    read_ferplus,
    select_majority,
    select_seven,
)
from .iemocap import IEMOCAP
from .images import AFFECTNET, RAFDB
from .named_faces import CFEE, JAFFE, KDEF, RAFD, SFEW
from .pedfe import PEDFE
from .pictures import FaceImages, load_faces, to_faces
from .ramas import RAMAS
from .table import CLIPS_CSV, read_table

__all__ = [
    "CLIPS_CSV",
    "CORPORA",
    "FERPLUS_COLUMNS",
    "FERPLUS_LICENSE",
    "FERPLUS_PREPROCESSING",
    "FERPLUS_SPLITS",
    "STAND_IN",
    "Choices",
    "Clip",
    "Corpus",
    "FaceImages",
    "LabelledImage",
    "Policy",
    "Problem",
    "Scan",
    "Tell",
    "choose_policies",
    "count_votes",
    "load_faces",
    "read_ferplus",
    "read_table",
    "refuse_judging",
    "scan",
    "select_majority",
    "select_seven",
    "to_faces",
]

CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        AFFWILD2, CREMAD, IEMOCAP, RAMAS, RAVDESS, SAVEE, AFEW, PEDFE,
        AFFECTNET, CFEE, FER2013, FERPLUS, JAFFE, KDEF, RAFDB, RAFD, SFEW,
    )
}  # fmt: skip

STAND_IN = "SIMULATED.txt"  # a file of this name in the root says that the corpus is made up
_NO_SIGN = {UNKNOWN_NAME, UNREADABLE_LINE, UNREADABLE_TABLE}
_NAMES_SHOWN = 5

Item = TypeVar("Item", Clip, LabelledImage)


def choose_policies(corpus: Corpus, policies: Mapping[str, str]) -> dict[str, str]:
    """Return the choice for each policy of a corpus: the given one, or the default.

    Raises:
        UnknownName: the corpus has no such policy, or the policy no such choice.
        UsageError: a policy that is a number is given something else, or the corpus has no policies.
    """
    if policies and not corpus.policies:
        raise UsageError(f"{corpus.name} has no policies, so {', '.join(policies)} would change nothing.")
    for name, choice in policies.items():
        check_name(f"policy of {corpus.name}", name, corpus.policies)
        choices = corpus.policies[name].choices
        if choices:
            check_name(f"choice for {name} of {corpus.name}", choice, choices)
        elif not _is_share(choice):
            raise UsageError(f"{name} of {corpus.name} is a number from 0 to 1, not {choice!r}.")
    return {name: policies.get(name, policy.default) for name, policy in corpus.policies.items()}


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def scan(name: str, root: Path, policies: Mapping[str, str] | None = None) -> Scan:
    """Find the labelled clips or images of the corpus `name` below `root`.

    What cannot be used is a clip or an image without an emotion, or a problem; nothing is left out in silence.

    Raises:
        UnknownName: there is no such corpus, policy or choice.
        UsageError: a policy that is a number is given something else.
        CorpusError: `root` is not laid out as that corpus.
    """
    check_name("corpus", name, CORPORA)
    corpus, root = CORPORA[name], Path(root)
    chosen = choose_policies(corpus, policies or {})
    if not root.is_dir():
        raise CorpusError(f"Expected {name} below {root}: {corpus.layout}. There is no such folder.")
    problems: list[Problem] = []
    clips = corpus.find_clips(root, chosen, problems.append) if corpus.find_clips else ()
    images = corpus.find_images(root, chosen, problems.append) if corpus.find_images else ()
    kept_clips, kept_images = _keep_first(clips, problems.append), _keep_first(images, problems.append)
    found = Scan(
        name,
        root,
        chosen,
        kept_clips,
        kept_images,
        tuple(problems),
        corpus.expected,
        is_simulated=(root / STAND_IN).is_file(),
    )
    if not found.items and not found.problem_counts.keys() - _NO_SIGN:
        raise _wrong_root(found, corpus)
    return found


def refuse_judging(names: Iterable[str]) -> None:
    """Raise if one of the named corpora is for judging only.

    Raises:
        UsageError: one of them is.
    """
    for name in names:
        if name in CORPORA and CORPORA[name].is_for_judging:
            raise UsageError(
                f"{name} is for judging only, and nothing is trained on it: leave it out, and score the weights on it."
            )


def _keep_first(items: Iterable[Item], tell: Tell) -> tuple[Item, ...]:
    """Return the items without those whose name was there before; tell of these."""
    by_name: dict[str, Item] = {}
    for item in items:
        if by_name.setdefault(item.name, item) is not item:
            tell(Problem("name given twice", item.name))
    return tuple(by_name.values())


def _wrong_root(found: Scan, corpus: Corpus) -> CorpusError:
    names = sorted(path.name for path in found.root.iterdir() if path.name[0] != ".")
    there = ", ".join(names[:_NAMES_SHOWN]) + (" and more" if len(names) > _NAMES_SHOWN else "") or "nothing"
    reasons = "".join(f" {problem.kind}: {problem.where}." for problem in found.problems[:1])
    return CorpusError(f"Expected {corpus.name} below {found.root}: {corpus.layout}. What is there: {there}.{reasons}")
