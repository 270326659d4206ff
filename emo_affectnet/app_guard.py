"""What the page in the browser lets in and out: names of hosts, paths of requests, files and addresses.

Wraps the application and the page that `app` makes, and knows nothing of what they are for.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]  # of ASGI
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_POLICY = (  # Gradio's HTML component builds functions from text
    "default-src 'self' 'unsafe-inline' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "object-src 'none'; frame-ancestors 'none'"
)
_HEADERS = ((b"content-security-policy", _POLICY.encode()), (b"referrer-policy", b"no-referrer"))
_CLOSED = ("/gradio_api/info", "/gradio_api/openapi", "/gradio_api/process_recording", "/gradio_api/proxy=")


class Guard:
    """Adds headers to every answer, and answers only what the page needs, and only under names that were meant.

    Another site could have its own name point to this address, and so read what is here; see "DNS rebinding". It could
    also have a visitor's browser send a form to this address: whatever comes from another site's page is not answered.
    """

    def __init__(self, app: Any, *, hosts: Sequence[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        if scope["type"] == "http" and not self._is_open(scope):
            await send({"type": "http.response.start", "status": 404, "headers": [*_HEADERS]})
            await send({"type": "http.response.body", "body": b"Not here."})
            return
        await self._app(scope, receive, send_with_headers)

    def _is_open(self, scope: Message) -> bool:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        asked, came_from = re.sub(r":\d+$", "", headers.get(b"host", "")), headers.get(b"origin")
        is_own = came_from is None or re.sub(r"^\w+://|:\d+$", "", came_from) in self._hosts
        return not scope["path"].startswith(_CLOSED) and (not self._hosts or (asked in self._hosts and is_own))


def keep_inside(page: Any, folder: Path) -> None:
    """Let the page take files of `folder` only: whoever can reach it can name any file or address as an upload.

    Gradio looks at names of files only in pages that it launched itself, and fetches what lies at an address.
    """
    page.has_launched = True
    for block in page.blocks.values():
        block.async_move_resource_to_block_cache = _inside(folder, block.async_move_resource_to_block_cache)


def _inside(folder: Path, take: Callable[[Any], Awaitable[str | None]]) -> Callable[[Any], Awaitable[str | None]]:
    async def take_inside(place: str | Path | None) -> str | None:
        if place is not None and not Path(place).resolve().is_relative_to(folder):
            raise PermissionError(f"{place} was not uploaded here.")
        return await take(place)

    return take_inside
