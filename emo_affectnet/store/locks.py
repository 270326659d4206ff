"""One process at a time, by a lock file that goes with its owner."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait until no other process holds the lock file, hold it, and remove it at the end.

    A process that is killed lets go of it too. Windows and some shared file systems have no such locks: there two
    processes may do the same work twice.
    """
    if fcntl is None:
        yield
        return
    while True:
        with lock.open("w") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file.fileno(), lock):
                continue  # whoever held it has removed it: this lock is nobody's
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
