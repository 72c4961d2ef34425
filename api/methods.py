"""HEAD and OPTIONS, which every address answers alike."""

from __future__ import annotations

import anyio
from litestar.enums import HttpMethod, ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

# Nobody's method: asked for it, the router says which ones there are.
_NONE = "?"


def answer_head_and_options(app: ASGIApp) -> ASGIApp:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == HttpMethod.HEAD:
            await _head(app, scope, receive, send)
        elif scope["type"] == ScopeType.HTTP and scope["method"] == HttpMethod.OPTIONS and not _is_preflight(scope):
            await _options(app, scope, receive, send)
        else:
            await app(scope, receive, send)

    return wrapped


def _is_preflight(scope: HTTPScope) -> bool:
    return any(name == b"access-control-request-method" for name, _ in scope["headers"])


async def _head(app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send) -> None:
    """GET, left where the body begins, so that a stream of events ends too."""
    with anyio.CancelScope() as enough:

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {"type": "http.response.body", "body": b"", "more_body": False}
                enough.cancel()
            with anyio.CancelScope(shield=True):
                await send(message)

        await app({**scope, "method": HttpMethod.GET}, receive, without_body)


async def _options(app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send) -> None:
    """204 with all methods of the address; the framework's own answer forgets those of other handlers."""
    known = False

    async def as_list(message: Message) -> None:
        nonlocal known
        if message["type"] == "http.response.start" and message["status"] == 405:
            known = True
            allowed = {*dict(message["headers"])[b"allow"].decode().split(", "), "OPTIONS"}
            allowed |= {"HEAD"} if "GET" in allowed else set()
            headers = [(b"allow", ", ".join(sorted(allowed)).encode())]
            message = {"type": "http.response.start", "status": 204, "headers": headers}
        elif message["type"] == "http.response.body" and known:
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    await app({**scope, "method": _NONE}, receive, as_list)  # type: ignore[typeddict-item]
