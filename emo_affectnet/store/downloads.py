"""One file from one address to one part file: continued, checked for its length and for room on the disk.

Nothing here knows what a weight file is. The part file stays whatever happens, and the next call goes on from
there.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DownloadError
from ..locks import open_itself

if TYPE_CHECKING:
    import requests

TIMEOUTS = (10.0, 30.0)  # s: to connect, and between two pieces
PAUSES = (0.5, 2.0)  # s, before asking again an address that brought nothing new
CHUNK = 1 << 14  # bytes; of a chunk that breaks off nothing is kept

RANGE_NOT_SATISFIABLE = 416
WORTH_ASKING_AGAIN = (408, RANGE_NOT_SATISFIABLE, 429)  # of the answers that lay the fault on the asker


class AddressFailed(Exception):
    """An address did not bring the file; says why. Another one may."""


class AddressRefused(AddressFailed):
    """An address will not bring the file, however often it is asked."""


def size_of(path: Path) -> int:
    """Return the size of a file in bytes, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def bring(url: str, partial: Path, *, size: int | None, on_progress: Callable[[int, int | None], None]) -> None:
    """Fetch what a part file lacks of the file at an address of `size` bytes, asking again while that brings more.

    Raises:
        AddressFailed: the address did not bring all of it.
        DownloadError: there is no room for it.
    """
    import requests

    reached, pauses = size_of(partial), iter(PAUSES)
    while True:
        try:
            return _transfer(url, partial, size=size, on_progress=on_progress)
        except AddressRefused:
            raise
        except (requests.RequestException, AddressFailed) as error:
            if isinstance(error, (ValueError, requests.TooManyRedirects)):  # ValueError: it is no address at all
                raise AddressRefused(_explain(error)) from error
            if size_of(partial) > reached:
                reached, pauses = size_of(partial), iter(PAUSES)
            pause = next(pauses, None)
            if pause is None:
                raise AddressFailed(_explain(error)) from error
        time.sleep(pause)


def _transfer(url: str, partial: Path, *, size: int | None, on_progress: Callable[[int, int | None], None]) -> None:
    """Ask once for what the part file lacks, and append it."""
    import requests

    there = size_of(partial)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUTS) as response:
        done, total = _read_answer(response, partial)
        if None not in (total, size) and total != size:
            raise AddressRefused(f"offers {total} bytes where {size} were expected")
        _check_room(partial, (total or size or 0) - done)
        with open(partial, "ab" if done else "wb", opener=open_itself) as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                done += len(chunk)
                if size is not None and done > size:
                    raise AddressRefused(f"sends more than the {size} bytes that were expected")
                on_progress(done, total or size)
    if total is not None and done != total:
        raise AddressFailed(f"the connection ended after {done} of {total} bytes")


def _read_answer(response: "requests.Response", partial: Path) -> tuple[int, int | None]:
    """Return from which byte on an address answers, and of how many bytes in all if it tells."""
    there, status = size_of(partial), response.status_code
    continues = status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {there}-")
    if status == RANGE_NOT_SATISFIABLE or (status == 206 and not continues):
        partial.unlink(missing_ok=True)
        raise AddressFailed("cannot continue the part that is there")
    if status not in (200, 206):
        is_final = 400 <= status < 500 and status not in WORTH_ASKING_AGAIN
        raise (AddressRefused if is_final else AddressFailed)(f"HTTP {status}")
    done = there if continues else 0  # 200: the whole file again
    length = response.headers.get("Content-Length", "")
    tells = length.isdigit() and "Content-Encoding" not in response.headers
    return done, done + int(length) if tells else None


def _check_room(partial: Path, needed: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if needed > free:
        raise DownloadError(
            f"{partial.parent} has {free / 1e6:.1f} MB free, but {needed / 1e6:.1f} MB are still to come: "
            f"{(needed - free) / 1e6:.1f} MB are missing. Make room, or choose a folder on another disk."
        )


def _explain(error: Exception) -> str:
    import requests

    if isinstance(error, AddressFailed):
        return str(error)
    kinds = {
        requests.exceptions.SSLError: "its certificate is not accepted",
        requests.exceptions.ProxyError: "the proxy does not answer",
        requests.exceptions.Timeout: f"no answer within {TIMEOUTS[1]:g} s",
        requests.exceptions.ChunkedEncodingError: "the connection broke off",
        requests.exceptions.ConnectionError: "no connection, or it stalled",
        requests.exceptions.TooManyRedirects: "it only leads on to other addresses",
        ValueError: "not an address that can be asked",
    }
    return next((words for kind, words in kinds.items() if isinstance(error, kind)), str(error))
