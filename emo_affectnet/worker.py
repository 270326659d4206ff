"""The process that reads the videos: `python -m emo_affectnet.worker`, started and watched by `workers`.

Orders come as lines of JSON on the standard input and answers go as lines of JSON to the standard output; whatever a
library prints goes to the error stream. A decoder that crashes takes down this process and nothing else.

| comes | goes |
|---|---|
| options, folders | `preparing` done, total; then `ready` settings, columns, description; or `failed` error, message |
| a video | `progress` done, total; then `outcome` row; or `failed`. At any time `log` level, message |
"""

import json
import logging
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from .errors import EmoAffectNetError
from .inputs import Input, Options, Step

PROGRESS_SECONDS = 0.2  # between two words on progress
OOM_SCORE = 500  # of 1000; 0 is that of other processes


class _Channel(logging.Handler):
    """Sends lines to whoever started this process; log records among them."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream, self._writing, self._told = stream, threading.Lock(), 0.0

    def send(self, kind: str, *content: Any) -> None:
        with self._writing:
            self._stream.write(json.dumps([kind, *content]) + "\n")
            self._stream.flush()

    def send_progress(self, done: int, total: int | None) -> None:
        if (now := time.monotonic()) - self._told >= PROGRESS_SECONDS or done == total:
            self._told = now
            self.send("progress", done, total)

    def emit(self, record: logging.LogRecord) -> None:
        self.send("log", record.levelno, self.format(record))


def main() -> None:
    """Serve until the standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who started this process decides
    with suppress(OSError):  # where memory runs out, Linux ends this process before the one that goes on with the run
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    channel = _Channel(_claim_output())
    logging.getLogger("emo_affectnet").addHandler(channel)
    logging.getLogger("emo_affectnet").propagate = False
    orders: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    try:
        _serve(orders, channel)
    except EmoAffectNetError as error:
        channel.send("failed", type(error).__name__, str(error))


def _claim_output() -> IO[str]:
    """Return the standard output for answers alone; what libraries print goes to the error stream."""
    own = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    return own


def _listen(orders: "SimpleQueue[str]") -> None:
    """Pass on the lines of the standard input; when it ends, nobody waits for this process any longer."""
    with os.fdopen(os.dup(0), encoding="ascii") as lines:  # Python waits for its own stream when it ends
        for line in lines:
            orders.put(line)
    os._exit(0)


def _serve(orders: "SimpleQueue[str]", channel: _Channel) -> None:
    from .analysis import open_here

    order = json.loads(orders.get())
    options = Options.from_json(order["options"])

    def tell_preparing(done: int, total: int) -> None:
        channel.send("preparing", done, total)

    with open_here(options, Path(order["save"]), Path(order["unfinished"]), on_prepare=tell_preparing) as analyst:
        channel.send("ready", dict(analyst.settings), list(analyst.extra_columns), analyst.description)
        while True:
            path, name, label, step = json.loads(orders.get())
            source = Input(Path(path), name, label, step and Step.from_json(step))
            outcome = analyst.analyze(source, on_progress=channel.send_progress)
            channel.send("outcome", outcome.to_json(), outcome.seconds)


if __name__ == "__main__":
    main()
