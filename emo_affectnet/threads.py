"""How many threads there are to take, and stages that run on threads of their own."""

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Full, Queue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

CGROUP = Path("/sys/fs/cgroup")


def count_cores() -> int:
    """Return the cores this process may use: those it is bound to, and no more than its container's share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, *_container_shares(), cores)


def _container_shares() -> list[int]:
    """Return the cores that the container's limits allow, rounded up; [] if there are none (Linux control groups)."""
    quotas = []
    with suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text().split()
        quotas.append((quota, period))
    with suppress(OSError):
        folder = CGROUP / "cpu"
        quotas.append(((folder / "cpu.cfs_quota_us").read_text(), (folder / "cpu.cfs_period_us").read_text()))
    shares = []
    for quota, period in quotas:
        with suppress(ValueError, ZeroDivisionError):  # "max", no limit
            shares.append(math.ceil(int(quota) / int(period)))
    return [share for share in shares if share > 0]


def prefetch(items: Generator[Item, None, None], *, depth: int = 8) -> Generator[Item, None, None]:
    """Yield items in their order, made on a thread of their own, at most `depth` of them ahead.

    What making them raises is raised here. When this generator is closed, so is `items`, and the thread has ended.
    """
    ready: Queue[tuple[Item] | None] = Queue(depth)  # None is the end
    stopped = threading.Event()

    def offer(item: tuple[Item] | None) -> None:
        has_room = False
        while not has_room and not stopped.is_set():
            with suppress(Full):
                ready.put(item, timeout=0.1)
                has_room = True

    def make() -> None:
        try:
            for item in items:
                offer((item,))
                if stopped.is_set():
                    return
        finally:
            items.close()
            offer(None)

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as threads:
        making = threads.submit(make)
        try:
            while entry := ready.get():
                yield entry[0]
        finally:
            stopped.set()
        making.result()


@contextmanager
def beside(function: Callable[[], object]) -> Iterator[None]:
    """Run a function on a thread of its own while the body runs; what it raises is raised when the body has ended."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="beside") as threads:
        running = threads.submit(function)
        yield
    running.result()


def run_beside(
    function: Callable[[Item], Result], items: Iterable[Item], *, depth: int = 1
) -> Iterator[tuple[Item, Result]]:
    """Yield each item and what `function` makes of it, on a thread of its own while the next `depth` are gathered."""
    running: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="beside") as threads:
        for item in items:
            running.append((item, threads.submit(function, item)))
            if len(running) > depth:
                first, result = running.popleft()
                yield first, result.result()
        for item, result in running:
            yield item, result.result()
