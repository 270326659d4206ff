"""Features of faces in a file: what a run over many videos leaves for classifiers to learn from.

One `.npz` for a whole run: a zip of arrays that `numpy.load` opens as well. A row is one person's face in one frame; a
video in which nobody was seen has arrays without rows.

| entry | meaning |
|---|---|
| `<video>/indices` | int64 (N,), 0-based index of the frame |
| `<video>/times` | float64 (N,), s |
| `<video>/people` | int64 (N,), 1-based; 1 is the primary person |
| `<video>/boxes` | float32 (N, 4), px, half-open x1, y1, x2, y2 |
| `<video>/features` | float32 (N, D), what the backbone makes of the face |
| `meta.json` | text: FORMAT, version, backbone, its SHA-256, the width D, settings, the names of the videos |

Nothing in it is pickled, and nothing pickled is read: a file of features runs no code.
"""

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePath
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from . import __version__
from .errors import ReportError, UsageError
from .files import MALFORMED, tell_unwritable, whole_file

_npy: Any = np.lib.format  # which has no types

FORMAT = "emo_affectnet features 1"
META = "meta.json"
ARRAYS = {  # entry -> type and number of dimensions
    "indices": (np.int64, 1),
    "times": (np.float64, 1),
    "people": (np.int64, 1),
    "boxes": (np.float32, 2),
    "features": (np.float32, 2),
}


@dataclass(frozen=True)
class Origin:
    """The network that features are of; only features of the same one can be compared."""

    backbone: str  # the name of its file
    sha256: str  # of its file, 64 hexadecimal digits
    width: int  # D, of the features of one face

    def __post_init__(self) -> None:
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise UsageError(f"A SHA-256 has 64 hexadecimal digits, not {self.sha256!r}.")
        if self.width < 1:
            raise UsageError(f"A face has one feature or more, not {self.width}.")

    def check_same(self, other: "Origin", *, what: str) -> None:
        """Raise UsageError unless `other`, called `what`, is of the same network."""
        if (self.sha256, self.width) != (other.sha256, other.width):
            raise UsageError(
                f"Expected {what} of the backbone {_describe(self)}, but they are of {_describe(other)}. Save the "
                "features again with the same backbone, or train a classifier for the other one."
            )


def _describe(origin: Origin) -> str:
    return f"{origin.backbone} ({origin.width} features, SHA-256 {origin.sha256[:16]})"


@dataclass(frozen=True, eq=False)
class VideoFeatures:
    """Everyone's features in one video, in any order."""

    name: str  # of its report, without the suffix
    indices: npt.NDArray[np.int64]  # (N,) 0-based index of the frame
    times: npt.NDArray[np.float64]  # (N,) s
    people: npt.NDArray[np.int64]  # (N,) 1-based; 1 is the primary person
    boxes: npt.NDArray[np.float32]  # (N, 4) px, half-open x1, y1, x2, y2
    features: npt.NDArray[np.float32]  # (N, D)

    def __post_init__(self) -> None:
        for entry, (kind, dimensions) in ARRAYS.items():
            array = getattr(self, entry)
            if array.dtype != kind or array.ndim != dimensions or len(array) != len(self.indices):
                raise UsageError(
                    f"{self.name}: expected {entry} as {np.dtype(kind)} with {dimensions} dimension(s) and "
                    f"{len(self.indices)} rows, not {array.dtype} {array.shape}."
                )
        if self.boxes.shape[1] != 4:
            raise UsageError(f"{self.name}: a box has 4 sides, not {self.boxes.shape[1]}.")
        if (self.people < 1).any() or (self.indices < 0).any() or not np.isfinite(self.features).all():
            raise UsageError(f"{self.name}: people count from 1, frames from 0, and features are finite numbers.")
        if np.unique(np.stack([self.indices, self.people]), axis=1).shape[1] < len(self.indices):
            raise UsageError(f"{self.name}: a person has one face in a frame.")

    def __len__(self) -> int:
        return len(self.indices)

    def cut(self, start: float, end: float) -> "VideoFeatures":
        """Return what was seen from `start` on and before `end`, both s."""
        inside = (self.times >= start) & (self.times < end)
        return replace(self, **{entry: getattr(self, entry)[inside] for entry in ARRAYS})


class FeatureWriter:
    """Writes the features of one video after the other; the file appears at the end, complete, or not at all.

    >>> with FeatureWriter(Path("features.npz"), origin=Origin("backbone.pt", hash_file(path), 512)) as writer:
    ...     writer.add(VideoFeatures("sub/clip", indices, times, people, boxes, features))

    Each video is in the file as soon as it was added, so memory does not grow with their number. `settings` are kept
    for the reader, such as `EmotionRecognizer.settings`.

    Raises:
        ReportError: the file cannot be written; a failed `add` spoils the file, whatever follows.
        UsageError: a video was added before, or its features have another width.
    """

    def __init__(self, path: Path, *, origin: Origin, settings: Mapping[str, str] | None = None) -> None:
        self.path, self.origin, self.settings = path, origin, dict(settings or {})
        self._is_whole: dict[str, bool] = {}  # by name, in order

    def __enter__(self) -> "FeatureWriter":
        with tell_unwritable(self.path), ExitStack() as stack:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = stack.enter_context(whole_file(self.path))
            self._archive = stack.enter_context(zipfile.ZipFile(partial, "w"))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            with suppress(OSError):  # which would hide the error that came first
                self._stack.__exit__(kind, error, trace)
            return
        with tell_unwritable(self.path), self._stack:
            if not all(self._is_whole.values()):
                raise ReportError(f"{self.path} was not written: a video in it is incomplete. Run it again.")
            write_document(self._archive, self._document())

    def add(self, video: VideoFeatures) -> None:
        """Append one video; its name is written with / between folders, and must be new."""
        name = _entry_name(video.name)
        if name in self._is_whole:
            raise UsageError(f"{self.path} already has features of a video named {name}.")
        if video.features.shape[1] != self.origin.width:
            width = video.features.shape[1]
            raise UsageError(f"{name}: expected {self.origin.width} features of each face, not {width}.")
        self._is_whole[name] = False
        with tell_unwritable(self.path):
            for entry in ARRAYS:
                write_array(self._archive, f"{name}/{entry}", getattr(video, entry))
        self._is_whole[name] = True

    def _document(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": __version__,
            **asdict(self.origin),
            "settings": self.settings,
            "names": list(self._is_whole),
        }


def _entry_name(name: str) -> str:
    """Return a name that a zip can hold: folders by /, and � for bytes of file names that are no UTF-8."""
    whole = PurePath(name).as_posix()
    return whole.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@dataclass(frozen=True)
class FeatureFile:
    """A file of features; each video is read when it is asked for."""

    path: Path
    origin: Origin
    names: tuple[str, ...]  # of the videos, as they were added
    settings: Mapping[str, str] = field(default_factory=dict)
    version: str = __version__  # of this package, that wrote it

    def read(self, name: str) -> VideoFeatures:
        """Return the features of one video.

        Raises:
            UsageError: there is none of this name.
            ReportError: the file is damaged.
        """
        (video,) = self.read_all([name])
        return video

    def read_all(self, names: Iterable[str] | None = None) -> Iterator[VideoFeatures]:
        """Yield the features of the named videos, or of all, one at a time.

        Raises:
            UsageError: there is no video of a name.
            ReportError: the file is damaged.
        """
        chosen = self.names if names is None else tuple(names)
        if strangers := sorted(set(chosen) - set(self.names)):
            raise UsageError(f"{self.path} has no features of a video named {strangers[0]}.")
        with open_archive(self.path, what="features of faces") as archive:
            for name in chosen:
                yield self._read(archive, name)

    def _read(self, archive: zipfile.ZipFile, name: str) -> VideoFeatures:
        video = VideoFeatures(name, **{entry: read_array(archive, f"{name}/{entry}") for entry in ARRAYS})
        if video.features.shape[1] != self.origin.width:
            raise ValueError(f"{name} has {video.features.shape[1]} features of each face, not {self.origin.width}")
        return video


def read_features(path: Path) -> FeatureFile:
    """Open a file of features: its names are known at once, its arrays are read later.

    Raises:
        ReportError: the file cannot be read, or is something else.
    """
    with open_archive(path, what="features of faces") as archive:
        document = read_document(archive, FORMAT)
        file = FeatureFile(
            path=path,
            origin=read_origin(document),
            names=tuple(map(str, document["names"])),
            settings={str(key): str(value) for key, value in document["settings"].items()},
            version=str(document["version"]),
        )
        entries = set(archive.namelist())
        if lacking := [name for name in file.names if not {f"{name}/{entry}.npy" for entry in ARRAYS} <= entries]:
            raise ValueError(f"it lacks arrays of the video {lacking[0]}")
    return file


@contextmanager
def open_archive(path: Path, *, what: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip of arrays that should hold `what`, and tell in one sentence what is wrong with it, then or later.

    Raises:
        ReportError: the file cannot be read, or is something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (*MALFORMED, UsageError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).rstrip(".") or type(error).__name__
        raise ReportError(f"{path} should hold {what} as this tool saves them, but: {reason}.") from error


def read_document(archive: zipfile.ZipFile, expected: str) -> dict[str, Any]:
    """Return the text of an archive, whose format should be the `expected` one.

    Raises:
        KeyError: there is none.
        ValueError: it is something else.
    """
    with _open_entry(archive, META) as file:
        document = json.loads(file.read())
    if not isinstance(document, dict) or document.get("format") != expected:
        raise ValueError(f"its {META} is not of the format {expected!r}")
    return document


def read_origin(document: Mapping[str, Any]) -> Origin:
    """Return the network that the text of an archive names.

    Raises:
        KeyError, ValueError, TypeError, UsageError: it names none.
    """
    return Origin(str(document["backbone"]), document["sha256"], int(document["width"]))


def read_array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """Return one array of an archive.

    Raises:
        KeyError: it has none of this name.
        ValueError: the entry is no array, or one of pickled objects.
        BadZipFile: the entry is damaged.
    """
    with _open_entry(archive, f"{name}.npy") as file:
        array: npt.NDArray[Any] = _npy.read_array(file, allow_pickle=False)
        if file.read(1):  # at the end, zipfile checks the sum
            raise ValueError(f"{name} is longer than its shape")
    return array


def _open_entry(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    try:
        return archive.open(name)
    except KeyError as error:  # whose text is a sentence
        raise KeyError(name) from error


def write_array(archive: zipfile.ZipFile, name: str, array: npt.NDArray[Any]) -> None:
    """Append an array as `numpy.savez` does, but without the time of day: equal content makes equal files."""
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
        _npy.write_array(file, array, allow_pickle=False)


def write_document(archive: zipfile.ZipFile, document: Mapping[str, Any]) -> None:
    """Append the text that says what the arrays are."""
    archive.writestr(zipfile.ZipInfo(META), json.dumps(document, indent=1, ensure_ascii=False) + "\n")
