"""What is finished: the record `<stem>.json` beside the reports of a video, by which a later run knows that it is.

A record says of which bytes and with which settings the reports were made, what they are, and the row of the summary.
It is written last: reports without one, or with another one, count for nothing.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from . import __version__
from .files import hash_content, settle, settle_names, tell_unwritable
from .inputs import Input
from .summary import Outcome
from .weights import describe_trust

FORMAT = "emo_affectnet record 1"
SAMPLES, SAMPLE_SIZE = 16, 1 << 16  # of a video's bytes, that stand for all of them
_PACKAGES = ("numpy", "av", "mediapipe", "onnxruntime", "torch")  # on which the numbers hang

Settings = Mapping[str, str]


@dataclass(frozen=True)
class Fingerprint:
    """What tells the content of one file from that of another."""

    size: int  # bytes
    sha256: str  # of the size and of SAMPLES pieces, from the first byte to the last


def take_fingerprint(path: Path) -> Fingerprint | None:
    """Return the fingerprint of a file, or None if there is none that can be read; at most 1 MB of it is read."""
    try:
        if not os.path.isfile(path):  # opening a pipe would wait for its other end
            return None
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(str(size).encode())
            for number in range(SAMPLES):
                file.seek(max(size - SAMPLE_SIZE, 0) * number // (SAMPLES - 1))
                digest.update(file.read(SAMPLE_SIZE))
    except OSError:
        return None
    return Fingerprint(size, digest.hexdigest())


def record_path(save: Path, name: str) -> Path:
    """Return where the record of a video stands."""
    stem = save / name
    return stem.with_name(f"{stem.name}.json")


def find_finished(source: Input, save: Path, settings: Settings) -> Outcome | None:
    """Return the row of a video whose reports are here, whole, and of the same bytes and settings; else None."""
    try:
        record: dict[str, Any] = dict(json.loads(record_path(save, source.name).read_bytes()))
        outcome = match(record, source, settings)
        return outcome if outcome and is_of(record, source.path) and are_whole(record, save) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # whatever it is that stands there, it is no record of finished work


def match(record: Mapping[str, Any], source: Input, settings: Settings) -> Outcome | None:
    """Return the row of a record if it is one of this video by its name, with these settings; else None.

    Raises:
        KeyError, TypeError, ValueError: it is no record.
    """
    outcome = Outcome.from_json(record["summary"])
    is_same = (record["format"], record["settings"], outcome.file) == (FORMAT, source.settle(settings), source.label)
    return outcome if is_same else None


def is_of(record: Mapping[str, Any], video: Path) -> bool:
    """Return whether a record was made of the bytes that a video has now."""
    return Fingerprint(**record["source"]) == take_fingerprint(video)


def are_whole(record: Mapping[str, Any], save: Path) -> bool:
    """Return whether the reports of a record are in the folder `save`, each as it was written."""
    reports: dict[str, str] = dict(record["reports"])
    return all(hash_content(save / name) == digest for name, digest in reports.items())


def publish(
    staged: Path, source: Input, save: Path, *, outcome: Outcome, settings: Settings, fingerprint: Fingerprint
) -> None:
    """Bring the reports of a video from the folder `staged` to the same places below `save`, its record last.

    A report in JSON has the record's name, and becomes one file with it.

    Raises:
        ReportError: a file cannot be written.
    """
    target, record = record_path(save, source.name), record_path(staged, source.name)
    with tell_unwritable(target, what="The report"):
        target.parent.mkdir(parents=True, exist_ok=True)
        files = sorted(path for path in staged.rglob("*") if path.is_file())
        document: dict[str, Any] = {
            "format": FORMAT,
            "file": outcome.file,
            "source": {"size": fingerprint.size, "sha256": fingerprint.sha256},
            "settings": source.settle(settings),
            "versions": dict(find_versions()),
            "reports": {file.relative_to(staged).as_posix(): hash_content(file) for file in files if file != record},
            "summary": outcome.to_json(),
        }
        if record.is_file():
            document |= json.loads(record.read_bytes())
        target.unlink(missing_ok=True)  # from here on the old reports count for nothing
    for name in document["reports"]:
        place = save / name
        with tell_unwritable(place, what="The report"):
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged / name, place)
    settle_names(target.parent)
    with tell_unwritable(target, what="The report"):
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        settle(record)
        os.replace(record, target)
    settle_names(target.parent)


def read_trust(save: Path, name: str) -> str:
    """Return how far to trust a video's reports, in words for people, as far as its record says."""
    try:
        document = json.loads(record_path(save, name).read_bytes())
        return str(document["trust"])
    except (OSError, ValueError, LookupError, TypeError):
        return describe_trust(None)


@cache
def find_versions() -> Mapping[str, str]:
    """Return the versions of what the numbers of a report hang on."""
    versions = {"emo_affectnet": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
