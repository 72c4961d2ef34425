"""/ws/voice: a person speaks, the answer comes back spoken. This process only carries: no model, no audio work.

client ─▶ _hear ─▶ the line's stream in Redis ─▶ voice worker        client ◀─ _send ◀─ queue ◀─ _tell, _follow
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any

import msgspec
import structlog
from litestar import websocket
from litestar.exceptions import WebSocketDisconnect

from api.schemas.voice import TalkIn, read_control, read_query
from api.threads import reading as in_thread
from api.voice_call import LOOK_AGAIN_S, SPARE_S, Backlog, Call, Close, Frame, Socket, insist
from config.errors import BackchannelError, BadRequest, NotFound, TooManyRequests, Unavailable
from config.logging import log
from config.queues import Kind
from config.settings import Settings, get_settings
from storage import conversations, jobs
from storage.connections import SOCKET_TIMEOUT_S
from storage.database import is_away, reading
from storage.ids import new_id
from storage.jobs import TERMINAL
from storage.tables import Job
from storage.voice_lines import MAX_ENTRY_BYTES, Line

FRAME_BYTES = 32_768
# A client that talks nonsense is told so this often, and then let go.
MAX_REFUSALS = 100
READ_BYTES = 100 * MAX_ENTRY_BYTES  # of one message, that are carried before the backlog is looked at again
UNHEARD_S = 60.0  # a full line whose ear takes nothing for so long has none
GOODBYE_S = 1.0


@websocket("/ws/voice")
async def voice_socket(socket: Socket) -> None:
    """PCM, 16 bit, mono, little-endian in binary frames both ways; JSON in text frames."""
    await socket.accept()
    line_id = new_id()
    with structlog.contextvars.bound_contextvars(line=line_id):
        try:
            await _serve(socket, line_id)
        except (WebSocketDisconnect, OSError):
            pass  # it has gone
        except Exception as error:
            await _say_goodbye(socket, error)


async def _serve(socket: Socket, line_id: str) -> None:
    """Raises what it ends with; nothing where the client has gone."""
    settings, query = get_settings(), read_query(socket.query_params)
    if not settings.voice_enabled:
        raise Unavailable("Voice is switched off here (VOICE_ENABLED).")
    session_id, resumed = await in_thread(_look_up, socket.user.id, query)
    call = _call(socket, settings, line_id, query, session_id)
    if len(call.lines) >= settings.voice_max_connections:  # no await between this and the line's being counted
        raise TooManyRequests("As many people are speaking as this server listens to; try again later.")
    try:
        told = await insist(lambda: call.lines.open(call.line), 0)
        await call.say(
            type="ready",
            sample_rate=call.line.sample_rate,
            output_sample_rate=call.line.output_rate,
            session_id=session_id,
            pause_ms=call.line.pause_ms,
        )
        if resumed is not None:
            call.will_tell(resumed, query.after or 0)
            await call.tell_ear({"type": "resumed", "job_id": resumed})
        await _first_to_end(_hear(call), _tell(call, told), _follow(call), _send(call))
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SOCKET_TIMEOUT_S):
                await call.lines.close(line_id)


async def _first_to_end(*parts: Coroutine[Any, Any, None]) -> None:
    """Whichever part ends first ends all. Raises what it ended with."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


def _look_up(owner_id: str, query: TalkIn) -> tuple[str | None, str | None]:
    """The conversation, and the turn that a client which comes back wants to hear the rest of: the one it names, else
    the newest. Raises NotFound."""
    with reading() as session:
        if query.session_id is not None:
            conversations.get(session, query.session_id, owner_id)
        job: Job | None = None
        if query.job_id is not None:
            job = jobs.get(session, query.job_id, owner_id)
            if job.kind != Kind.VOICE.value:
                raise NotFound("That job is no spoken turn.")
        elif query.after is not None:
            job = jobs.newest(session, owner_id, Kind.VOICE, query.session_id)
        if job is None:
            return query.session_id, None
        return query.session_id or job.conversation_id, job.id


def _call(socket: Socket, settings: Settings, line_id: str, query: TalkIn, session_id: str | None) -> Call:
    options = query.of_the_turns() | ({"session_id": session_id} if session_id else {})
    line = Line(
        line_id,
        socket.app.state.lines.web_id,
        socket.user.id,
        query.sample_rate,
        query.output_sample_rate or settings.voice_output_rate,
        query.pause_ms or settings.voice_pause_ms,
        query.barge_in,
        options,
    )
    return Call(socket, settings, line, Backlog(2 * query.sample_rate * (settings.voice_max_utterance_s + SPARE_S)))


async def _say_goodbye(socket: Socket, error: Exception) -> None:
    """In an `error` frame, where there is a word for it, and in the close, which has room for 123 bytes."""
    if is_away(error):
        error = Unavailable("The database cannot be reached right now; connect again in a moment.")
    if not isinstance(error, BackchannelError | Close):
        log.exception("a voice connection failed", exc_info=error)
        error = Close(1011, "Something went wrong inside; the server's log has the details.")
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):  # one that has gone, or takes nothing
        async with asyncio.timeout(GOODBYE_S):
            if isinstance(error, BackchannelError):
                said = msgspec.json.encode({"type": "error", **error.as_json()})
                await socket.send_data(said, mode="text")
                error = Close(4000 + error.status, error.detail)
            await socket.close(error.code, error.reason.encode()[:120].decode(errors="ignore"))


# --- from the client


async def _hear(call: Call) -> None:
    refusals = 0
    while True:
        try:
            async with asyncio.timeout(call.settings.voice_idle_min * 60):
                message = await call.socket.receive()
        except TimeoutError:
            raise Close(4408, "Nothing was sent for a long time.") from None
        if message["type"] == "websocket.disconnect":
            return
        data, text = message.get("bytes"), message.get("text")
        if isinstance(data, bytes):
            await _carry(call, data)
        elif isinstance(text, str):
            try:
                await _obey(call, text)
            except BadRequest as error:
                refusals += 1
                if refusals > MAX_REFUSALS:
                    raise BadRequest("Too many messages that mean nothing here.") from None
                await call.say(type="error", **error.as_json())


async def _carry(call: Call, data: bytes) -> None:
    """Sound goes on as it came. While the ear is far behind, the client is not read from."""
    for start in range(0, len(data), READ_BYTES):
        piece = data[start : start + READ_BYTES]
        entries = await insist(lambda piece=piece: call.lines.send_audio(call.line.id, piece))  # type: ignore[misc]
        call.backlog.add(piece)
        call.backlog.keep(entries)
        least, since = call.backlog.bytes, time.monotonic()
        while call.backlog.is_full:
            await asyncio.sleep(LOOK_AGAIN_S)
            call.backlog.keep(await insist(lambda: call.lines.waiting(call.line.id)))
            if call.backlog.bytes < least:
                least, since = call.backlog.bytes, time.monotonic()
            elif time.monotonic() - since > UNHEARD_S:
                raise Unavailable("Nobody listens right now: no voice worker takes what you say.")


async def _obey(call: Call, text: str) -> None:
    control = read_control(text)
    match control.type:
        case "interrupt":
            if call.now is not None:
                call.cut.add(call.now)
            await call.tell_ear({"type": "interrupt", "heard_ms": control.heard_ms})
        case "end_of_turn":
            await call.tell_ear({"type": "end_of_turn"})
        case "ping":
            await call.say(type="pong")
        case _:
            raise BadRequest(f"There is no {control.type[:50]!r}: interrupt, end_of_turn and ping are understood.")


# --- to the client


async def _tell(call: Call, told: asyncio.Queue[dict[str, Any]]) -> None:
    """What the ear says outside of turns."""
    while True:
        event = await told.get()
        if event["type"] == "turn_started":
            call.will_tell(event["job_id"])  # which says so when its turn has come
            continue
        if event["type"] == "interrupted":
            call.cut.add(event["job_id"])
        await call.say(**event)


async def _follow(call: Call) -> None:
    """Turns one after the other, each from its log to its end."""
    while True:
        job_id, after = await call.turns.get()
        call.now = job_id
        job = await in_thread(_row, job_id)
        await call.say(type="turn_started", job_id=job_id, after=after, session_id=job.conversation_id)
        async with contextlib.aclosing(call.hub.follow(job_id, after)) as events:  # type: ignore[type-var]
            async for event in events:
                if event is None:
                    continue
                await call.outgoing.put(Frame(event.json))
                if event.type == "audio" and job_id not in call.cut:
                    await _sound(call, job_id, msgspec.json.decode(event.json))
        job = await in_thread(_row, job_id)
        if job.status not in TERMINAL:  # the hub ends what is followed when the server stops
            raise Close(1012, "This server is being restarted; connect again.")
        timings = (job.result or {}).get("timings")
        done = {"type": "turn_done", "job_id": job_id, "status": job.status, "timings": timings}
        await call.outgoing.put(Frame(msgspec.json.encode(done), told={"type": "told", "job_id": job_id}))


def _row(job_id: str) -> Job:
    with reading() as session:
        job = session.get(Job, job_id)
    if job is None:
        raise NotFound("That turn was deleted.")
    return job


async def _sound(call: Call, job_id: str, event: dict[str, Any]) -> None:
    pcm = await insist(lambda: call.lines.audio(job_id, event["index"]))
    if pcm is None:
        await call.say(type="status", status="sound_gone", message="This sound is no longer kept.", job_id=job_id)
        return
    playing = {"type": "playing", "job_id": job_id, "ms": event["duration_ms"]}
    for start in range(0, len(pcm), FRAME_BYTES):
        is_last = start + FRAME_BYTES >= len(pcm)
        await call.outgoing.put(Frame(pcm[start : start + FRAME_BYTES], job_id, playing if is_last else None))


async def _send(call: Call) -> None:
    while True:
        frame = await call.outgoing.get()
        if frame.sound_of in call.cut:
            continue
        try:
            async with asyncio.timeout(call.settings.voice_send_timeout_s):
                await call.socket.send_data(frame.data, mode="text" if frame.sound_of is None else "binary")
        except TimeoutError:
            raise Close(4408, "You do not take what is sent to you.") from None
        except RuntimeError as error:  # how uvicorn says that it has gone
            raise WebSocketDisconnect(detail=str(error)) from error
        if frame.told is not None:
            await call.tell_ear(frame.told)
