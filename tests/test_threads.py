"""How many cores a process may use, and stages on threads of their own."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from emo_affectnet import threads
from emo_affectnet.errors import VideoError
from emo_affectnet.threads import beside, count_cores, prefetch, run_beside


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu.max": "nonsense\n"}, 8),
    ],
    ids=["no limit", "v2 max", "v2 2.5", "v2 0.1", "v2 16", "v1 none", "v1 2", "unreadable"],
)
def test_cores_are_those_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(threads, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert count_cores() == expected


def test_prefetched_items_come_in_order_and_are_made_on_one_other_thread() -> None:
    def make_items() -> Iterator[tuple[int, int]]:
        for number in range(50):
            yield number, threading.get_ident()

    items = list(prefetch(make_items(), depth=3))
    assert [number for number, _ in items] == list(range(50))
    assert len({thread for _, thread in items} | {threading.get_ident()}) == 2


def test_prefetching_stays_within_its_depth_and_ends_with_its_reader() -> None:
    made, closed = [], []

    def make_items() -> Iterator[int]:
        try:
            for number in range(1000):
                made.append(number)
                yield number
        finally:
            closed.append(True)

    items = prefetch(make_items(), depth=3)
    assert next(items) == 0
    threading.Event().wait(0.2)
    assert len(made) <= 6
    items.close()
    assert closed == [True]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_what_making_an_item_raises_is_raised_after_the_items_before_it() -> None:
    def make_items() -> Iterator[int]:
        yield 1
        raise VideoError("broken")

    items = prefetch(make_items())
    assert next(items) == 1
    with pytest.raises(VideoError, match="broken"):
        next(items)


def test_results_come_in_order_with_their_items_and_are_made_on_one_other_thread() -> None:
    pairs = list(run_beside(lambda item: (item * item, threading.get_ident()), range(20)))
    assert [(item, square) for item, (square, _) in pairs] == [(item, item * item) for item in range(20)]
    assert len({thread for _, (_, thread) in pairs} | {threading.get_ident()}) == 2


def test_the_next_item_is_gathered_while_one_is_worked_on_and_no_more() -> None:
    gathered, go_on = [], threading.Event()

    def gather() -> Iterator[int]:
        for item in range(10):
            gathered.append(item)
            if item == 1:
                go_on.set()  # the first item is done only now: without a second one it would wait for ever
            yield item

    results = run_beside(lambda item: go_on.wait(10) and item, gather())
    assert next(results) == (0, 0)
    assert gathered == [0, 1]


def test_what_the_work_raises_is_raised_at_its_item() -> None:
    results = run_beside(lambda item: 1 // item, [2, 1, 0, 1])
    assert [next(results), next(results)] == [(2, 0), (1, 1)]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("beside")]


def test_function_runs_on_a_thread_of_its_own_while_the_body_does() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert may_end.wait(10)

    with beside(work):
        assert begun.wait(10)
        may_end.set()


def test_error_beside_the_body_comes_out_when_it_has_ended() -> None:
    def fail() -> None:
        raise VideoError("no")

    seen = []
    with pytest.raises(VideoError, match="no"), beside(fail):
        seen.append(True)
    assert seen
