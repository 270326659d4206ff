"""Pins: the hashes of files that no list knows, written down in `<place>/pins.json` when such a file is first met.

In go the places where weights lie; the pins of all of them count, and a new one is kept in the first that can be
written.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from ..errors import CorruptWeights
from ..files import whole_file
from ..locks import alone

log = logging.getLogger("emo_affectnet")

PINS = "pins.json"


@dataclass(frozen=True)
class Pin:
    """A file that was taken on trust, and the hash by which it is known since."""

    filename: str
    sha256: str
    size: int  # bytes
    when: str  # ISO 8601, UTC
    name: str | None  # in the catalogue; None: a file of the user's own


_of_this_process: list[Pin] = []  # those that no place could keep


def read_pins(places: Sequence[Path]) -> list[Pin]:
    """Return the pins of all places.

    Raises:
        CorruptWeights: a file of pins cannot be read.
    """
    return [*_of_this_process, *(pin for place in places for pin in _read(place / PINS))]


def pin_file(filename: str, *, sha256: str, size: int, name: str | None, places: Sequence[Path]) -> None:
    """Pin the hash of a file; where no place can be written, for this process only."""
    pin = Pin(filename, sha256, size, datetime.now(timezone.utc).isoformat(timespec="seconds"), name)
    if any((old.sha256, old.name) == (sha256, name) for old in read_pins(places)):
        return
    if not any(_is_kept(pin, place) for place in places):
        log.warning("The pin of %s is kept for this run only: no %s can be written.", filename, PINS)
        _of_this_process.append(pin)


def _is_kept(pin: Pin, place: Path) -> bool:
    path = place / PINS
    try:
        place.mkdir(parents=True, exist_ok=True)
        with alone(place / f".{PINS}.lock"):
            pins = [asdict(each) for each in (*_read(path), pin)]
            with whole_file(path) as partial:
                partial.write_text(json.dumps(pins, indent=2) + "\n", encoding="utf-8")
    except OSError:
        return False
    return True


def _read(path: Path) -> Iterator[Pin]:
    if not path.is_file():
        return
    try:
        yield from (Pin(**fields) for fields in json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CorruptWeights(
            f"{path} should be the JSON list of pinned weight files, but it cannot be read: {error}. Mend or remove "
            "it: the files are then pinned anew when they are next used."
        ) from error
