"""Event logs over HTTP: Server-Sent Events for one job, a WebSocket for many."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Annotated, Any

import anyio
import msgspec
from litestar import WebSocket, get, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath, Parameter
from litestar.response import Stream

from api.auth import Caller
from api.intake import AnyRequest
from api.threads import reading as in_thread
from api.waiting import require_job
from config.errors import BackchannelError, NotFound, Unavailable, Unusable
from config.logging import log
from storage.listeners import EventHub

# A WebSocket may listen to this many jobs; a client with more opens another.
MAX_SUBSCRIPTIONS = 500
# Frames a client has not taken yet; beyond it the readers of its logs wait, and the logs keep what follows.
SEND_BUFFER = 256

SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@get(
    "/api/jobs/{job_id:str}/events",
    tags=["jobs"],
    summary="A job's events: replay, then live, to the end",
    media_type="text/event-stream",
)
async def job_events(
    request: AnyRequest,
    job_id: FromPath[str],
    after: Annotated[
        int | None, Parameter(ge=0, description="Last number you have; as the header Last-Event-ID")
    ] = None,
) -> Stream:
    await in_thread(require_job, request.user.id, job_id)  # 404 before the stream starts
    return Stream(
        server_sent(request.app.state.hub, job_id, _start(request, after)),
        media_type="text/event-stream",
        headers=SSE_HEADERS,
    )


def _start(request: AnyRequest, after: int | None) -> int:
    header = request.headers.get("last-event-id", "").strip()
    if after is not None or not header:
        return after or 0
    if not header.isdecimal() or len(header) > 15:
        raise Unusable("Last-Event-ID must be the number of an event.")
    return int(header)


async def server_sent(hub: EventHub, job_id: str, after: int) -> AsyncIterator[bytes]:
    """The wire form: `id` and `data` per event, a comment when nothing happens, the end after the terminal event."""
    yield b"retry: 1000\n\n"
    async with contextlib.aclosing(hub.follow(job_id, after)) as events:  # type: ignore[type-var]
        async for event in events:
            yield b": still here\n\n" if event is None else b"id: %d\ndata: %s\n\n" % (event.seq, event.json)


@websocket("/ws/jobs")
async def job_socket(socket: WebSocket[Caller, Any, Any]) -> None:
    """Takes {"subscribe": [id, …], "after": {id: N}} and {"unsubscribe": [id, …]}; sends the same event objects, and
    {"type": "refused", …} for what it cannot do."""
    await socket.accept()
    outgoing: asyncio.Queue[bytes] = asyncio.Queue(SEND_BUFFER)
    readers: dict[str, asyncio.Task[None]] = {}
    try:
        async with anyio.create_task_group() as group:
            for part in (_hear(socket, readers, outgoing), _send_all(socket, outgoing)):
                group.start_soon(_until_gone, part, group.cancel_scope)
    finally:
        for task in readers.values():
            task.cancel()
        await asyncio.gather(*readers.values(), return_exceptions=True)


async def _until_gone(part: Coroutine[Any, Any, None], both: anyio.CancelScope) -> None:
    """Whichever side notices first that the client has gone ends the other."""
    with contextlib.suppress(WebSocketDisconnect, OSError):
        await part
    both.cancel()


async def _hear(
    socket: WebSocket[Caller, Any, Any], readers: dict[str, asyncio.Task[None]], outgoing: asyncio.Queue[bytes]
) -> None:
    while True:
        text = await socket.receive_text()
        try:
            await _obey(socket, text, readers, outgoing)
        except BackchannelError as error:
            await outgoing.put(_refusal(error))
        except Exception:
            log.exception("a socket's command failed")
            await socket.close(1011, "Something went wrong inside; the server's log has the details.")
            return


async def _send_all(socket: WebSocket[Caller, Any, Any], outgoing: asyncio.Queue[bytes]) -> None:
    with contextlib.suppress(RuntimeError):  # said to one that has gone
        while True:
            await socket.send_data(await outgoing.get(), mode="text", encoding="utf-8")


def _refusal(error: BackchannelError, job_id: str | None = None) -> bytes:
    named = {"job_id": job_id[:64]} if job_id is not None else {}
    return msgspec.json.encode({"type": "refused", **named, **error.as_json()})


class Command(msgspec.Struct, forbid_unknown_fields=True):
    subscribe: list[str] = []
    unsubscribe: list[str] = []
    after: dict[str, int] = {}


async def _obey(
    socket: WebSocket[Caller, Any, Any],
    text: str,
    readers: dict[str, asyncio.Task[None]],
    outgoing: asyncio.Queue[bytes],
) -> None:
    try:
        command = msgspec.json.decode(text.encode(errors="replace"), type=Command)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unusable(f"Not a command: {str(error)[:200]}") from None
    for job_id in command.unsubscribe:
        if task := readers.pop(job_id, None):
            task.cancel()
    for job_id in command.subscribe:
        if job_id in readers and not readers[job_id].done():
            continue
        _forget_ended(readers)
        if len(readers) >= MAX_SUBSCRIPTIONS:
            raise Unusable(f"One connection listens to at most {MAX_SUBSCRIPTIONS} jobs.")
        try:
            await in_thread(require_job, socket.user.id, job_id)
        except NotFound as error:
            await outgoing.put(_refusal(error, job_id))
            continue
        readers[job_id] = asyncio.create_task(
            _relay(socket.app.state.hub, job_id, max(0, command.after.get(job_id, 0)), outgoing)
        )


def _forget_ended(readers: dict[str, asyncio.Task[None]]) -> None:
    for job_id in [job_id for job_id, task in readers.items() if task.done()]:
        del readers[job_id]


async def _relay(hub: EventHub, job_id: str, after: int, outgoing: asyncio.Queue[bytes]) -> None:
    try:
        async for event in hub.follow(job_id, after):
            if event is not None:
                await outgoing.put(event.json)
    except Exception:
        log.exception("a listener's reader failed", job_id=job_id)
        await outgoing.put(_refusal(Unavailable("The job's events cannot be read right now."), job_id))
