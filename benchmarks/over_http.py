"""Talkers over HTTP, in a process of their own (see benchmarks.processes.Peer): the same for Backchannel and for
llama-server, a connection for every question."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any, Self

import uvloop

from benchmarks.talk import Heard, Talk

_LIMIT_S = 240.0


class _Connection:
    def __init__(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._port, self._reader, self._writer = port, reader, writer

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(port, *await asyncio.open_connection("127.0.0.1", port))

    def close(self) -> None:
        self._writer.close()

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        return json.loads(b"".join([piece async for piece in self._request(method, path, body)]))

    async def events(self, method: str, path: str, body: Any = None) -> AsyncIterator[Any]:
        """The data of each server-sent event, to the end of the stream."""
        buffer = b""
        async for piece in self._request(method, path, body):
            buffer += piece
            *whole, buffer = buffer.split(b"\n\n")
            for event in whole:
                for line in event.splitlines():
                    if line.startswith(b"data: {"):
                        yield json.loads(line[6:])

    async def _request(self, method: str, path: str, body: Any) -> AsyncIterator[bytes]:
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        status, lines = answer.split(" ", 2)[1], answer.split("\r\n")
        length = next((line.split(":")[1] for line in lines if line.startswith("content-length:")), None)
        pieces = self._chunks() if length is None else self._whole(int(length))
        if status not in ("200", "201", "202"):
            raise RuntimeError(f"HTTP {status}: {b''.join([piece async for piece in pieces])[:300]!r}")
        async for piece in pieces:
            yield piece

    async def _whole(self, length: int) -> AsyncIterator[bytes]:
        yield await self._reader.readexactly(length)

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)


class _Backchannel:
    """A job per question: POST, then its events on the same connection."""

    async def prepare(self, connection: _Connection, talk: Talk) -> list[str]:
        """Conversations are opened before the clock runs."""
        count = 1 if talk.follow_up else len(talk.questions)
        return [(await connection.json("POST", "/api/sessions"))["session_id"] for _ in range(count)]

    async def ask(self, connection: _Connection, talk: Talk, number: int, heard: Heard, sessions: list[str]) -> None:
        chosen = {"session_id": sessions[number % len(sessions)], "use_rag": False}
        asked = {"message": talk.questions[number], "temperature": 0, "max_tokens": talk.tokens, **chosen}
        heard.asked = time.monotonic()
        job = await connection.json("POST", "/api/jobs", {"kind": "chat", "input": asked})
        heard.job_id = job["id"]
        async for event in connection.events("GET", f"/api/jobs/{job['id']}/events"):
            match event["type"]:
                case "content":
                    heard.times.append(time.monotonic())
                    heard.text += event["content"]
                case "done":
                    heard.prompt_tokens = event["response"]["prompt_tokens"]
                    heard.tokens = event["response"]["completion_tokens"]
                case "error":
                    raise RuntimeError(f"a chat failed: {event}")


class _LlamaServer:
    async def prepare(self, connection: _Connection, talk: Talk) -> list[dict[str, str]]:
        return []

    async def ask(
        self, connection: _Connection, talk: Talk, number: int, heard: Heard, said: list[dict[str, str]]
    ) -> None:
        if not talk.follow_up:
            said.clear()
        said.append({"role": "user", "content": talk.questions[number]})
        options = {"temperature": 0, "max_tokens": talk.tokens, "stream": True}
        body = {"messages": said, **options, "stream_options": {"include_usage": True}}
        heard.asked = time.monotonic()
        async for event in connection.events("POST", "/v1/chat/completions", body):
            for choice in event["choices"]:
                if text := choice["delta"].get("content"):
                    heard.times.append(time.monotonic())
                    heard.text += text
            if usage := event.get("usage"):
                heard.prompt_tokens, heard.tokens = usage["prompt_tokens"], usage["completion_tokens"]
        said.append({"role": "assistant", "content": heard.text})


def converse(system: str, port: int, talks: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """`system` is "backchannel" or "llama-server". Every talk on a connection, all at once; what each heard."""
    speaking: Any = {"backchannel": _Backchannel, "llama-server": _LlamaServer}[system]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        heard = runner.run(_converse(speaking, port, [Talk(**talk) for talk in talks]))
    return [[asdict(one) for one in answers] for answers in heard]


async def _converse(speaking: Callable[[], Any], port: int, talks: list[Talk]) -> list[list[Heard]]:
    speakers = [speaking() for _ in talks]
    connection = await _Connection.open(port)
    states = [await speaker.prepare(connection, talk) for speaker, talk in zip(speakers, talks, strict=True)]
    connection.close()
    heard: list[list[Heard]] = [[] for _ in talks]

    async def begun() -> None:
        beside = [place for place, talk in enumerate(talks) if talk.beside]
        # Answers are plain data, and nobody is timed meanwhile.
        while not all(heard[place] and heard[place][0].times for place in beside):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def talk_now(place: int) -> None:
        talk = talks[place]
        if not talk.beside:
            await begun()
            await asyncio.sleep(talk.after_s)
        for number in range(len(talk.questions)):
            connection = await _Connection.open(port)  # llama-server closes it after an answer
            heard[place].append(answer := Heard(time.monotonic()))
            try:
                await speakers[place].ask(connection, talk, number, answer, states[place])
            finally:
                connection.close()
            answer.ended = time.monotonic()

    async with asyncio.timeout(_LIMIT_S):
        tasks = [asyncio.create_task(talk_now(place)) for place in range(len(talks))]
        try:
            await asyncio.gather(*(task for task, talk in zip(tasks, talks, strict=True) if not talk.beside))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return heard
