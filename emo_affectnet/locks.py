"""One process at a time, by a lock file that goes with its owner.

Windows and some shared file systems have no such locks: there nobody is kept out, and two processes may do the same
work twice. Whatever they write appears whole all the same, see `files`.
"""

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import LockedError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_INTERVAL = 0.1  # s between two looks at a lock that is held


def open_itself(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file, but not through a link: where others may write, it could lead to any file of the user's."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


@contextmanager
def alone(lock: Path, *, shared: bool = False, patience: float | None = None) -> Iterator[None]:
    """Wait until no other process holds the lock file, hold it, and remove it at the end.

    Those who hold it `shared` keep out whoever wants it for himself, not one another. After `patience` s of waiting the
    lock is given up; None waits as long as it takes. A process that is killed lets go of it too, once the child
    processes that it was lent to have ended.

    Raises:
        LockedError: another process still holds it; says which one.
    """
    if fcntl is None:
        yield
        return
    deadline = None if patience is None else time.monotonic() + patience
    while True:
        descriptor = open_itself(lock, os.O_RDWR | os.O_CREAT)
        try:
            _acquire(descriptor, lock, shared=shared, deadline=deadline)
            if not _is_at(descriptor, lock):
                continue  # whoever held it has removed it: this lock is nobody's
            _sign(descriptor)
            os.set_inheritable(descriptor, True)  # a child that outlives its killed parent is still at work
            try:
                yield
            finally:
                _remove(descriptor, lock)
            return
        finally:
            os.close(descriptor)


def _acquire(descriptor: int, lock: Path, *, shared: bool, deadline: float | None) -> None:
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        try:
            fcntl.flock(descriptor, kind if deadline is None else kind | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return  # a file system without locks
        if deadline is not None and time.monotonic() >= deadline:
            owner = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
            raise LockedError(f"{owner or 'Another process'} holds {lock}.")
        time.sleep(_INTERVAL)


def _sign(descriptor: int) -> None:
    """Say in the lock file who holds it; of several who share it, the last."""
    with suppress(OSError):  # a full disk
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"Process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def _remove(descriptor: int, lock: Path) -> None:
    """Remove the lock file unless others share it; while they do, it must stay the same file."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(descriptor, lock):
            lock.unlink()


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
