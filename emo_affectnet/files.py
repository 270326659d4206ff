"""Files that appear only when they are complete: written under a temporary name, then renamed."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Lend a temporary path beside `path`; rename it to `path` at the end, or leave nothing if the body raises.

    The temporary name is short, hidden and unique, and keeps the suffix, by which some writers choose their format.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}.part{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        with suppress(OSError):  # which would hide why the file could not be written
            partial.unlink()
