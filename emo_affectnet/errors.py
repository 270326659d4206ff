"""Every error the library raises on purpose, and silence for those that libraries only write.

Each class knows the exit code of the command line:

EmoAffectNetError                exit 1
├── VideoError                   unreadable, or without a picture
├── ReportError                  a report that cannot be written or read
│   └── FullError                nothing more can be written there
├── LockedError                  another process is at work there
├── WorkerError                  the process that reads videos cannot be started
├── WeightsError
│   ├── MissingWeights           a file that is not there
│   ├── CorruptWeights           a file that is not what its name or hash promises
│   ├── WrongArchitecture        a readable file of another network
│   ├── UntrustedWeights         a file that can run code and that nobody has vouched for
│   └── DownloadError            a file that could not be fetched whole
├── CorpusError                  a folder that is not the corpus it was given for
├── EngineUnavailable            (also ImportError) names the extra to install
└── UsageError                   exit 2: the call itself is wrong
    └── UnknownName              (also ValueError) lists the valid names
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

# Line breaks, what commands a terminal, what turns the direction of writing, and bytes of names that are no UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str | os.PathLike[str]) -> str:
    """Return a text or path in one line that a terminal and a table show as it is: file names may hold anything.

    Control characters become escapes such as \\n, and bytes of names that are no UTF-8 the replacement character.
    """
    return _UNPRINTABLE.sub(lambda found: "\ufffd" if found[0] >= "\ud800" else repr(found[0])[1:-1], os.fspath(text))


class EmoAffectNetError(Exception):
    """The base of every error of this library; its text is one sentence for the person at the keyboard."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class VideoError(EmoAffectNetError):
    """The file cannot be read as a video."""


class ReportError(EmoAffectNetError):
    """A report cannot be written, or a file is not a report."""


class FullError(ReportError):
    """The disk is full, or cannot be written to any more: the next report would fail alike."""


class LockedError(EmoAffectNetError):
    """Another process is at work on the same files."""


class WorkerError(EmoAffectNetError):
    """The process that reads the videos cannot be started."""


class WeightsError(EmoAffectNetError):
    """A weight file cannot be used."""


class MissingWeights(WeightsError):
    """The weight file is not there."""


class CorruptWeights(WeightsError):
    """The file is damaged, or is something else than a weight file."""


class WrongArchitecture(WeightsError):
    """The file holds the weights of another network."""


class UntrustedWeights(WeightsError):
    """The file holds code, and its hash is not known here."""


class DownloadError(WeightsError):
    """The file could not be fetched, or did not arrive whole."""


class CorpusError(EmoAffectNetError):
    """The folder is not laid out as the named corpus."""


class EngineUnavailable(EmoAffectNetError, ImportError):
    """The package that an engine needs is not installed."""


class UsageError(EmoAffectNetError):
    """The call asks for something that cannot be done, whatever the files hold."""

    exit_code = 2


class UnknownName(UsageError, ValueError):
    """A name that is in no registry."""

    def __init__(self, kind: str, name: str, valid: Iterable[str]) -> None:
        super().__init__(f"There is no {kind} named {name!r}; choose one of: {', '.join(valid)}.")


def check_name(kind: str, name: str, valid: Collection[str]) -> None:
    """Raise UnknownName unless `name` is one of the `valid` ones."""
    if name not in valid:
        raise UnknownName(kind, name, valid)


@contextmanager
def silent_errors() -> Iterator[None]:
    """Throw away what libraries write to the process's error stream, past every setting of theirs."""
    try:
        kept = os.dup(2)
    except OSError:  # a process without an error stream, a service for instance, has nothing to silence
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
