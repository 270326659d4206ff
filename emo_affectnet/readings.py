"""Readings in files: what one pass over a video gives, kept until what to take off its people is known.

One `.npz` for each video, a zip of arrays without pickles. A row of the `people` arrays is one face in one sample.

| entry | meaning |
|---|---|
| `times` | float64 (F,), s, of every frame |
| `samples` | int64 (S,), 0-based indices of the frames that were looked at |
| `people` | int64 (N,), 1-based; 1 is the primary person |
| `indices`, `seconds` | int64 and float64 (N,), the frame and its time in s |
| `boxes`, `scores` | float32 (N, 4) px and (N,) |
| `features` | float32 (N, D) |
| `meta.json` | text: FORMAT and the facts of the video |

The folder of the video is not in it: a far video is read from a temporary one, and equal videos make equal files.
"""

import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from .feature_files import open_archive, read_array, read_document, write_array, write_document
from .files import tell_unwritable, whole_file
from .recognizer import Reading
from .timeline import FaceTrack
from .video import VideoInfo

FORMAT = "emo_affectnet reading 1"
_FACTS = ("width", "height", "fps", "duration", "frame_count", "has_audio", "is_constant_rate", "is_complete")


def write_reading(reading: Reading, info: VideoInfo, path: Path, *, width: int) -> None:
    """Write a reading of faces with `width` features each; the file appears complete or not at all.

    Raises:
        ReportError: the file cannot be written.
    """
    tracks = reading.tracks
    people = np.repeat([track.track_id for track in tracks], [len(each) for each in tracks]).astype(np.int64)
    arrays = {
        "times": reading.times,
        "samples": reading.samples,
        "people": people,
        "indices": np.concatenate([np.empty(0, np.int64), *(track.frame_indices for track in tracks)]),
        "seconds": np.concatenate([np.empty(0), *(track.times for track in tracks)]),
        "boxes": np.concatenate([np.empty((0, 4), np.float32), *(track.boxes for track in tracks)]),
        "scores": np.concatenate([np.empty(0, np.float32), *(track.scores for track in tracks)]),
        "features": np.concatenate([np.empty((0, width), np.float32), *(track.features for track in tracks)]),
    }
    facts = {name: getattr(info, name) for name in _FACTS}
    with tell_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
            for name, array in arrays.items():
                write_array(archive, name, array)
            write_document(
                archive,
                {
                    "format": FORMAT,
                    "file": info.path.name,
                    **facts,
                    "start": str(info.start),
                    "too_small": reading.too_small,
                },
            )


def read_reading(path: Path) -> tuple[Reading, VideoInfo]:
    """Return a reading and the facts of its video, whose path is its name alone.

    Raises:
        ReportError: the file cannot be read, or is something else.
    """
    with open_archive(path, what="a reading of a video") as archive:
        document = read_document(archive, FORMAT)
        arrays = {name: read_array(archive, name) for name in ("times", "samples", "people", *_PEOPLE)}
        info = _read_facts(document)
        tracks = tuple(_take_track(arrays, int(person)) for person in np.unique(arrays["people"]))
        return Reading(arrays["times"], arrays["samples"], tracks, int(document["too_small"])), info


_PEOPLE = ("indices", "seconds", "boxes", "scores", "features")


def _read_facts(document: dict[str, Any]) -> VideoInfo:
    facts = {name: document[name] for name in _FACTS}
    return VideoInfo(Path(document["file"]), **facts, start=Fraction(document["start"]))


def _take_track(arrays: dict[str, Any], person: int) -> FaceTrack:
    own = arrays["people"] == person
    return FaceTrack(person, *(arrays[name][own] for name in _PEOPLE))
