"""Runs that end in the middle, as if killed; for scripts that tests start in a process of their own."""

import os
from collections.abc import Callable


def dies_at(run: Callable[[], object], step: int) -> bool:
    """Run in a child that is gone at the `step`-th of its calls to the system; say whether there was one."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    calls = 0

    def cut(function: Callable[..., object]) -> Callable[..., object]:
        def call(*words: object, **more: object) -> object:
            nonlocal calls
            calls += 1
            if calls == step:
                os._exit(9)
            return function(*words, **more)

        return call

    for name in ("replace", "unlink", "mkdir", "rmdir", "fsync", "truncate", "write", "ftruncate"):
        setattr(os, name, cut(getattr(os, name)))
    run()
    os._exit(0)
