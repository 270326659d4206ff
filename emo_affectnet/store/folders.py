"""Where weight files lie: the places, in the order in which they are searched, and who may write there."""

import os
import tempfile
from pathlib import Path

from .. import weights
from ..catalogue import Entry
from ..errors import DownloadError

PLACE_VARIABLE = "EMO_AFFECTNET_WEIGHTS"


def places() -> list[Path]:
    """Return the folders where weights may lie: one's own choice, that of the checkout, the user's cache."""
    from platformdirs import user_cache_path

    chosen = os.environ.get(PLACE_VARIABLE)
    bundled = weights.bundled_folder()
    is_checkout = bundled.is_dir() and bundled.parent != Path(weights.__file__).resolve().parent
    return [
        *([Path(chosen).expanduser()] if chosen else []),
        *([bundled.parent] if is_checkout else []),
        user_cache_path("emo_affectnet", appauthor=False),
    ]


def copies(entry: Entry) -> list[Path]:
    """Return the files under the name of a catalogue entry, unchecked, in the order of their places."""
    paths = (place / entry.collection / entry.filename for place in places())
    return [path for path in paths if path.is_file()]


def writable_folder(collection: str) -> Path:
    """Return the folder of a collection in the first place that can be written.

    Raises:
        DownloadError: no place can be.
    """
    reasons = []
    for place in places():
        folder = place / collection
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            reasons.append(f"{place}: {error.strerror}")
        else:
            return folder
    raise DownloadError(
        f"Expected a folder for weights that can be written, but there is none ({'; '.join(reasons)}). "
        f"Set {PLACE_VARIABLE} to one."
    )
