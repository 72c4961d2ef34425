"""Lines over a real Redis: what a client sends is read until a turn was made of it, by one ear at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis

from storage import voice_lines
from storage.connections import async_redis_client, redis_client
from storage.ids import new_id
from storage.voice_lines import MAX_ENTRY_BYTES, Line, LineHub

pytestmark = [pytest.mark.usefixtures("settings", "clean_redis"), pytest.mark.anyio]


@asynccontextmanager
async def hub() -> AsyncIterator[LineHub]:
    lines = LineHub()
    lines.start(async_redis_client())
    try:
        yield lines
    finally:
        await lines.stop()


def a_line(lines: LineHub, **options: str) -> Line:
    return Line(new_id(), lines.web_id, "owner", 16_000, 22_050, 600, True, options)


async def test_a_line_is_heard_by_one_ear() -> None:
    async with hub() as lines:
        line = a_line(lines, session_id="s")
        await lines.open(line)
        voice_lines.wait_for_news(5.0)
        assert list(voice_lines.open_lines()) == [line.id]
        voice_lines.say_ear_listens("one")
        claimed = voice_lines.claim(line.id, "one")
        assert claimed is not None
        assert (claimed.line, claimed.turns, claimed.after) == (line, 0, "0-0")
        assert voice_lines.claim(line.id, "two") is None
        assert voice_lines.claim(line.id, "one") is not None
        voice_lines.withdraw_ear("one")
        assert voice_lines.claim(line.id, "two") is not None  # of one that is gone
        assert voice_lines.claim("no such line", "two") is None


async def test_what_was_not_answered_is_read_again() -> None:
    async with hub() as lines:
        line = a_line(lines)
        await lines.open(line)
        assert await lines.send_audio(line.id, b"\1" * (2 * MAX_ENTRY_BYTES + 1)) == 3
        await lines.send_control(line.id, {"type": "end_of_turn"})
        ((line_id, entries),) = voice_lines.listen({line.id: "0-0"}, 1000, 100)
        assert line_id == line.id
        assert [len(entry.audio) for entry in entries] == [MAX_ENTRY_BYTES, MAX_ENTRY_BYTES, 1, 0]
        assert entries[-1].control == {"type": "end_of_turn"}
        voice_lines.forget_until(line.id, entries[1].id, turns=7)
        assert await lines.waiting(line.id) == 2
        claimed = voice_lines.claim(line.id, "next")
        assert claimed is not None
        assert (claimed.turns, claimed.after) == (7, entries[1].id)
        assert voice_lines.listen({line.id: entries[3].id}, 10, 100) == []
        assert abs(voice_lines.entry_ms(entries[0].id) - voice_lines.now_ms()) < 60_000


async def test_what_an_ear_tells_reaches_its_line_only() -> None:
    async with hub() as lines, hub() as other:
        mine, neighbour, elsewhere = a_line(lines), a_line(lines), a_line(other)
        told = [await of.open(line) for of, line in ((lines, mine), (lines, neighbour), (other, elsewhere))]
        for number in range(3):
            voice_lines.tell(mine, {"type": "partial_transcript", "text": str(number)})
        voice_lines.tell(elsewhere, {"type": "speech_started"})
        async with asyncio.timeout(10):
            assert [(await told[0].get())["text"] for _ in range(3)] == ["0", "1", "2"]
            assert (await told[2].get())["type"] == "speech_started"
        assert told[1].empty()


async def test_a_line_that_is_over_leaves_nothing() -> None:
    async with hub() as lines:
        line = a_line(lines)
        await lines.open(line)
        await lines.send_audio(line.id, b"\0\0")
        await lines.close(line.id)
        assert len(lines) == 0
        ((_, entries),) = voice_lines.listen({line.id: "0-0"}, 1000, 100)
        assert entries[-1].control == {"type": "close"}
        voice_lines.remove(line.id)
        assert voice_lines.open_lines() == {}
        assert [key for key in redis_client().scan_iter("*") if line.id.encode() in key] == []


async def test_a_hub_goes_on_when_redis_forgot_everything() -> None:
    async with hub() as lines:
        line = a_line(lines)
        told = await lines.open(line)
        voice_lines.tell(line, {"type": "speech_started"})
        async with asyncio.timeout(10):
            await told.get()
            redis_client().flushall()
            await lines.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            while told.empty():
                voice_lines.tell(line, {"type": "speech_ended"})
                await asyncio.sleep(0.05)
        assert (await told.get())["type"] == "speech_ended"


def test_an_answer_is_cut_once_and_kept_a_while() -> None:
    assert voice_lines.find_cut("job") is None
    voice_lines.cut("job", 250)
    voice_lines.cut("job", 900)
    assert voice_lines.find_cut("job") == voice_lines.Cut(250)
    entries, cut = voice_lines.follow("bc:events:reply", 0, "job", 10)
    assert entries == []
    assert cut == voice_lines.Cut(250)
    voice_lines.cut("other", None)
    assert voice_lines.find_cut("other") == voice_lines.Cut(None)


def test_sound_is_kept_for_who_comes_back() -> None:
    voice_lines.keep_audio("job", 0, b"\1\2")
    assert voice_lines.load_audio("job", 0) == b"\1\2"
    assert voice_lines.load_audio("job", 1) is None
    assert isinstance(redis_client(), redis.Redis)
    assert all(0 < redis_client().ttl(key) <= voice_lines.AUDIO_TTL_S for key in redis_client().scan_iter("*"))


async def test_the_conversation_of_a_line_is_pinned() -> None:
    async with hub() as lines:
        line = a_line(lines, model="m")
        await lines.open(line)
        pinned = voice_lines.pin_session(line, "talk")
        claimed = voice_lines.claim(line.id, "ear")
        assert claimed is not None
        assert claimed.line == pinned
        assert pinned.options == {"model": "m", "session_id": "talk"}
