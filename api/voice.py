"""/ws/voice: a person speaks, the answer comes back spoken. This process only carries: no model, no audio work.

client ─▶ _hear ─▶ the line's stream in Redis ─▶ voice worker        client ◀─ _send ◀─ queue ◀─ _tell, _follow
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec
from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis.exceptions import RedisError

from api.auth import Caller
from api.threads import reading as in_thread
from config.errors import BackchannelError, BadRequest, NotFound, TooManyRequests, Unavailable, Unusable
from config.logging import log
from config.queues import Kind
from config.settings import Settings, get_settings
from storage import conversations, jobs
from storage.database import reading
from storage.ids import new_id
from storage.listeners import EventHub
from storage.tables import Job
from storage.voice_lines import MAX_WAITING_ENTRIES, Line, LineHub

# Frames a client has not taken yet. Behind them the answer's log and the audio wait in Redis.
SEND_BUFFER = 64
FRAME_BYTES = 32_768
MAX_TEXT_CHARS = 10_000
# A client that talks nonsense is told so this often, and then let go.
MAX_REFUSALS = 100
LOOK_AGAIN_S = 0.05

Socket = WebSocket[Caller, Any, Any]


class VoiceQuery(BaseModel):
    """What may be said in the address of /ws/voice."""

    model_config = ConfigDict(extra="forbid")

    sample_rate: int = Field(16_000, ge=8_000, le=48_000)
    output_sample_rate: int | None = Field(None, ge=8_000, le=48_000)
    session_id: str | None = Field(None, max_length=64)
    job_id: str | None = Field(None, max_length=64)
    after: int | None = Field(None, ge=0)
    pause_ms: int | None = Field(None, ge=100, le=10_000)
    barge_in: bool = True
    model: str | None = Field(None, max_length=200)
    use_rag: bool = True
    system: str | None = Field(None, max_length=4_000)
    temperature: float | None = Field(None, ge=0, le=2)
    seed: int | None = Field(None, ge=0, lt=2**31)
    max_tokens: int | None = Field(None, ge=1, le=100_000)
    voice: str | None = Field(None, max_length=100)
    speed: float = Field(1.0, ge=0.5, le=2.0)


_OF_THE_TURN = {"session_id", "model", "use_rag", "system", "temperature", "seed", "max_tokens", "voice", "speed"}


class Control(msgspec.Struct, forbid_unknown_fields=True):
    """What a client may say in words."""

    type: str
    heard_ms: int | None = None  # of the answer's sound, before it was stopped


@dataclass(frozen=True, slots=True)
class Frame:
    """To the client. `job_id`: of sound, which is dropped once its turn is cut short."""

    data: bytes
    is_sound: bool = False
    job_id: str | None = None
    told: dict[str, Any] | None = None  # what the ear is told when the client has it


@dataclass(slots=True)
class Call:
    """One connection."""

    socket: Socket
    lines: LineHub
    hub: EventHub
    line: Line
    outgoing: asyncio.Queue[Frame] = field(default_factory=lambda: asyncio.Queue(SEND_BUFFER))
    turns: asyncio.Queue[tuple[str, int]] = field(default_factory=asyncio.Queue)
    cut: set[str] = field(default_factory=set)  # turns whose sound is not sent any more
    now: str | None = None  # the turn that is being told

    async def say(self, **event: Any) -> None:
        await self.outgoing.put(Frame(msgspec.json.encode(event)))


@websocket("/ws/voice")
async def voice_socket(socket: Socket) -> None:
    """PCM, 16 bit, mono, little-endian in binary frames both ways; JSON in text frames."""
    await socket.accept()
    settings, lines = get_settings(), socket.app.state.lines
    try:
        query = _read_query(socket)
        _check_room(settings, lines)
        if query.session_id is not None:
            await in_thread(_check_session, socket.user.id, query.session_id)
        resumed = await in_thread(_turn_to_resume, socket.user.id, query)
        call = Call(socket, lines, socket.app.state.hub, _line(socket, query, settings))
        told = await lines.open(call.line)
    except BackchannelError as error:
        await _refuse(socket, error)
        return
    except (RedisError, OSError):
        await _refuse(socket, Unavailable("Voice cannot be served right now: Redis does not answer."))
        return
    with log_line(call.line.id):
        try:
            await _serve(call, told, resumed, settings)
        finally:
            await lines.close(call.line.id)


def log_line(line_id: str) -> contextlib.AbstractContextManager[None]:
    import structlog

    return structlog.contextvars.bound_contextvars(line=line_id)


def _read_query(socket: Socket) -> VoiceQuery:
    try:
        return VoiceQuery.model_validate(dict(socket.query_params))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])[:100]
        raise Unusable(f"{name}: {first['msg']}") from None


def _check_room(settings: Settings, lines: LineHub) -> None:
    if not settings.voice_enabled:
        raise Unavailable("Voice is switched off here (VOICE_ENABLED).")
    if len(lines) >= settings.voice_max_connections:
        raise TooManyRequests("As many people are speaking as this server listens to; try again later.")


def _check_session(owner_id: str, session_id: str) -> None:
    with reading() as session:
        conversations.get(session, session_id, owner_id)


def _turn_to_resume(owner_id: str, query: VoiceQuery) -> Job | None:
    """The turn that a client which comes back wants to hear the rest of: the one it names, else the newest."""
    if query.after is None:
        return None
    with reading() as session:
        if query.job_id is None:
            return jobs.newest(session, owner_id, Kind.VOICE, query.session_id)
        job = jobs.get(session, query.job_id, owner_id)
        if job.kind != Kind.VOICE.value:
            raise NotFound("That job is no spoken turn.")
        return job


def _line(socket: Socket, query: VoiceQuery, settings: Settings) -> Line:
    return Line(
        new_id(),
        socket.app.state.lines.web_id,
        socket.user.id,
        query.sample_rate,
        query.output_sample_rate or settings.voice_output_rate,
        query.pause_ms or settings.voice_pause_ms,
        query.barge_in,
        query.model_dump(include=_OF_THE_TURN, exclude_none=True),
    )


async def _refuse(socket: Socket, error: BackchannelError) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
        await socket.send_data(msgspec.json.encode({"type": "error", **error.as_json()}), mode="text", encoding="utf-8")
        await socket.close(4000 + error.status, error.detail[:120])


async def _serve(call: Call, told: asyncio.Queue[dict[str, Any]], resumed: Job | None, settings: Settings) -> None:
    line = call.line
    await call.say(
        type="ready",
        sample_rate=line.sample_rate,
        output_sample_rate=line.output_rate,
        session_id=line.options.get("session_id"),
        pause_ms=line.pause_ms,
    )
    if resumed is not None:
        await call.turns.put((resumed.id, int(call.socket.query_params.get("after", 0))))
    async with anyio.create_task_group() as group:

        async def part(work: Any) -> None:
            """Whichever part ends first ends all."""
            try:
                await work
            except (WebSocketDisconnect, OSError, RedisError, RuntimeError):
                pass
            except _Close as reason:
                await _say_goodbye(call, reason)
            except Exception:
                log.exception("a voice connection failed")
                await _say_goodbye(call, _Close(1011, "Something went wrong inside; the server's log has the details."))
            group.cancel_scope.cancel()

        for work in (_hear(call, settings), _tell(call, told), _follow(call), _send(call, settings)):
            group.start_soon(part, work)


class _Close(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


async def _say_goodbye(call: Call, close: _Close) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError, TimeoutError):
        async with asyncio.timeout(1.0):
            await call.socket.close(close.code, close.reason)


# --- from the client


async def _hear(call: Call, settings: Settings) -> None:
    refusals = 0
    while True:
        try:
            async with asyncio.timeout(settings.voice_idle_min * 60):
                message = await call.socket.receive()
        except TimeoutError:
            raise _Close(4408, "Nothing was sent for a long time.") from None
        if message["type"] == "websocket.disconnect":
            return
        data, text = message.get("bytes"), message.get("text")
        if isinstance(data, bytes) and data:
            await _carry(call, data)
        elif isinstance(text, str):
            try:
                await _obey(call, text)
            except BackchannelError as error:
                refusals += 1
                if refusals > MAX_REFUSALS:
                    raise _Close(4400, "Too many messages that mean nothing here.") from None
                await call.say(type="error", **error.as_json())


async def _carry(call: Call, data: bytes) -> None:
    """Sound goes on as it came. While the ear is far behind, the client waits."""
    waiting = await call.lines.send_audio(call.line.id, data)
    while waiting > MAX_WAITING_ENTRIES:
        await asyncio.sleep(LOOK_AGAIN_S)
        waiting = await call.lines.waiting(call.line.id)


async def _obey(call: Call, text: str) -> None:
    try:
        if len(text) > MAX_TEXT_CHARS:
            raise BadRequest("That message is too long.")
        control = msgspec.json.decode(text.encode(errors="replace"), type=Control)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"Text frames hold a JSON object with a type: {str(error)[:200]}") from None
    match control.type:
        case "interrupt":
            if call.now is not None:
                call.cut.add(call.now)
            await call.lines.send_control(call.line.id, {"type": "interrupt", "heard_ms": control.heard_ms})
        case "end_of_turn":
            await call.lines.send_control(call.line.id, {"type": "end_of_turn"})
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
            await call.turns.put((event["job_id"], 0))
            continue  # said when its turn to be told has come
        if event["type"] == "interrupted":
            call.cut.add(event["job_id"])
        await call.outgoing.put(Frame(msgspec.json.encode(event)))


async def _follow(call: Call) -> None:
    """Turns one after the other, each from its log to its end."""
    while True:
        job_id, after = await call.turns.get()
        call.now = job_id
        await call.say(type="turn_started", job_id=job_id, after=after, session_id=await in_thread(_session_of, job_id))
        end: dict[str, Any] = {}
        async with contextlib.aclosing(call.hub.follow(job_id, after)) as events:  # type: ignore[type-var]
            async for event in events:
                if event is None:
                    continue
                await call.outgoing.put(Frame(event.json))
                if event.type == "audio" and job_id not in call.cut:
                    await _sound(call, job_id, msgspec.json.decode(event.json))
                if event.is_terminal:
                    end = msgspec.json.decode(event.json)
        result = end.get("response") or {}
        status = {"done": "succeeded", "error": "failed"}.get(end.get("type", ""), end.get("type"))
        await call.outgoing.put(
            Frame(
                msgspec.json.encode(
                    {"type": "turn_done", "job_id": job_id, "status": status, "timings": result.get("timings")}
                ),
                told={"type": "told", "job_id": job_id},
            )
        )


def _session_of(job_id: str) -> str | None:
    with reading() as session:
        job = session.get(Job, job_id)
        return job.conversation_id if job else None


async def _sound(call: Call, job_id: str, event: dict[str, Any]) -> None:
    pcm = await call.lines.audio(job_id, event["index"])
    if pcm is None:
        await call.say(type="status", status="sound_gone", message="This sound is no longer kept.", job_id=job_id)
        return
    playing = {"type": "playing", "job_id": job_id, "ms": event["duration_ms"]}
    for start in range(0, len(pcm), FRAME_BYTES):
        piece, is_last = pcm[start : start + FRAME_BYTES], start + FRAME_BYTES >= len(pcm)
        await call.outgoing.put(Frame(piece, True, job_id, playing if is_last else None))


async def _send(call: Call, settings: Settings) -> None:
    while True:
        frame = await call.outgoing.get()
        if frame.is_sound and frame.job_id in call.cut:
            continue
        try:
            async with asyncio.timeout(settings.voice_send_timeout_s):
                if frame.is_sound:
                    await call.socket.send_data(frame.data, mode="binary")
                else:
                    await call.socket.send_data(frame.data, mode="text", encoding="utf-8")
        except TimeoutError:
            raise _Close(4408, "You do not take what is sent to you.") from None
        if frame.told is not None:
            await call.lines.send_control(call.line.id, frame.told)
