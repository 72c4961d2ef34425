"""The ear over a real Redis: each utterance becomes one job, whoever listens, whatever dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from config.queues import Kind
from config.settings import reset_settings
from storage import blobs, voice_lines
from storage.connections import async_redis_client, redis_client
from storage.database import transaction
from storage.ids import new_id
from storage.tables import LOCAL_OWNER, Conversation, Job
from storage.voice_lines import Line, LineHub
from tasks import ear as ears
from tasks import hearing, spoken_questions
from tasks.ear import Ear
from tests import factories
from tests.servers import wait_until
from workers.voice import house
from workers.voice.ports import HEARING_RATE, Samples, Transcript
from workers.voice.wav import read_wav

pytestmark = [pytest.mark.usefixtures("sqlite", "clean_redis", "parts"), pytest.mark.anyio]
LOUD = 10_000


class LoudIsSpeech:
    name = "loud"
    window_samples = 512

    def stream(self) -> LoudIsSpeech:
        return self

    def reset(self) -> None: ...

    def probability(self, window: Samples) -> float:
        return float(np.abs(window).max() >= LOUD)


@dataclass
class Counted:
    """Understands how much was loud: what it says is the number of such samples, in hundreds."""

    heard: list[Samples] = field(default_factory=list)

    def feed(self, samples: Samples) -> str | None:
        self.heard.append(samples)
        return self._text()

    def _text(self) -> str:
        return str(round(float(sum((np.abs(piece) >= LOUD).sum() for piece in self.heard)) / 100))

    def finish(self) -> Transcript:
        return Transcript(self._text(), 0.5, "counted")

    def close(self) -> None: ...


class CountingTranscriber:
    name = "counted"

    def utterance(self, phrases: Any = ()) -> Counted:
        return Counted()


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch, settings: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house, "_parts", {"activity": LoudIsSpeech(), "transcriber": CountingTranscriber()})
    monkeypatch.setattr(ears, "LOOK_S", 0.05)
    monkeypatch.setattr(hearing, "TRIM_S", 0.0)
    settings.setenv("VOICE_STALL_MS", "150")
    reset_settings()


@pytest.fixture
def ear() -> Iterator[Ear]:
    mine = Ear("one")
    mine.start()
    yield mine
    mine.stop()


@dataclass
class Client:
    """The web process and the client behind it."""

    lines: LineHub
    line: Line
    told: asyncio.Queue[dict[str, Any]]

    async def says(self, *sounds: Samples) -> None:
        await self.lines.send_audio(self.line.id, np.concatenate(sounds).tobytes())

    async def commands(self, kind: str, **more: Any) -> None:
        await self.lines.send_control(self.line.id, {"type": kind, **more})

    async def hears(self, *kinds: str) -> dict[str, Any]:
        """The next event of one of these kinds."""
        async with asyncio.timeout(20):
            while True:
                event = await self.told.get()
                if event["type"] in kinds:
                    return event


@asynccontextmanager
async def client(**given: Any) -> AsyncIterator[Client]:
    lines = LineHub()
    lines.start(async_redis_client())
    made: dict[str, Any] = {"sample_rate": HEARING_RATE, "pause_ms": 600, "barge_in": True, "options": {}} | given
    line = Line(id=new_id(), web_id=lines.web_id, owner_id=LOCAL_OWNER, output_rate=8000, **made)
    try:
        yield Client(lines, line, await lines.open(line))
    finally:
        await lines.stop()


def speech(seconds: float) -> Samples:
    return np.full(int(seconds * HEARING_RATE), LOUD, np.int16)


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * HEARING_RATE), np.int16)


def turns() -> list[Job]:
    return sorted(factories.all_jobs(Kind.VOICE), key=lambda row: row.id)


def texts() -> list[str]:
    return [row.input["transcript"]["text"] for row in turns()]


def loud_seconds(job: Job) -> float:
    samples, rate = read_wav(blobs.path(job.input["blob"]))
    assert rate == HEARING_RATE
    return float((np.abs(samples) >= LOUD).sum()) / HEARING_RATE


async def test_an_utterance_becomes_a_turn(ear: Ear) -> None:
    async with client() as me:
        await me.says(silence(0.5), speech(1), silence(1))
        assert (await me.hears("speech_started"))["type"] == "speech_started"
        started = await me.hears("turn_started")
        (job,) = turns()
        assert (job.id, job.conversation_id) == (started["job_id"], started["session_id"])
        assert loud_seconds(job) == 1.0
        assert job.input["transcript"] == {"text": "160", "confidence": 0.5, "backend": "counted"}
        assert job.priority == 9
        assert set(job.input["timings"]) == {"vad_ms", "stt_ms"}
        await asyncio.to_thread(wait_until, lambda: voice_lines.claim(me.line.id, "one").turns == 1)  # type: ignore[union-attr]


async def test_words_are_told_while_they_are_spoken(ear: Ear) -> None:
    async with client() as me:
        await me.says(speech(0.5))
        assert int((await me.hears("partial_transcript"))["text"]) <= 80


async def test_utterances_keep_their_order_and_their_conversation(ear: Ear) -> None:
    async with client() as me:
        await me.says(*(part for seconds in (1, 2, 1.5) for part in (speech(seconds), silence(0.8))))
        sessions = {(await me.hears("turn_started"))["session_id"] for _ in range(3)}
        assert texts() == ["160", "320", "240"]
        assert len(sessions) == 1


async def test_who_plays_in_a_file_sends_no_silence(ear: Ear) -> None:
    async with client(sample_rate=8000) as me:
        await me.lines.send_audio(me.line.id, speech(1).tobytes() + b"\1")  # an odd byte too many
        await me.hears("turn_started")
        (job,) = turns()
        assert 1.8 < len(read_wav(blobs.path(job.input["blob"]))[0]) / HEARING_RATE < 2.2  # at half the rate


async def test_the_end_of_a_turn_can_be_said(ear: Ear) -> None:
    async with client(pause_ms=10_000) as me:
        await me.says(speech(0.5))
        await me.commands("end_of_turn")
        assert (await me.hears("speech_ended"))["reason"] == "forced"
        await me.hears("turn_started")


async def test_where_nothing_was_said_that_is_told_once(ear: Ear) -> None:
    async with client() as me:
        await me.says(silence(1), speech(0.05), silence(1))  # a click
        assert (await me.hears("status", "turn_started"))["status"] == "nothing_heard"
        await me.says(speech(1), silence(1))
        assert (await me.hears("status", "turn_started"))["type"] == "turn_started"
        assert len(turns()) == 1


async def test_endless_speech_is_answered_in_parts(ear: Ear, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("VOICE_MAX_UTTERANCE_S", "2")
    reset_settings()
    async with client() as me:
        await me.says(speech(5), silence(1))
        reasons = [(await me.hears("speech_ended"))["reason"] for _ in range(3)]
        assert reasons == ["max_length", "max_length", "pause"]
        for _ in range(3):
            await me.hears("turn_started")
        assert abs(sum(map(loud_seconds, turns())) - 5) < 0.1


async def test_silence_is_forgotten(ear: Ear) -> None:
    async with client() as me:
        await me.says(silence(20))
        key = f"bc:voice:{me.line.id}:in"
        await asyncio.to_thread(wait_until, lambda: redis_client().xlen(key) < 20)


async def test_who_hangs_up_in_the_middle_of_a_word_is_answered(ear: Ear) -> None:
    async with client() as me:
        await me.says(speech(0.5))
        await me.lines.close(me.line.id)
        await asyncio.to_thread(wait_until, lambda: len(turns()) == 1)
        await asyncio.to_thread(wait_until, lambda: voice_lines.open_lines() == {})
        assert len(ear) == 0


async def test_who_comes_back_is_told_of_the_turn_that_was_on_its_way(ear: Ear) -> None:
    session_id = factories.conversation()
    async with client(options={"session_id": session_id}) as gone, client(options={"session_id": session_id}) as back:
        await back.says(silence(0.1))
        await asyncio.to_thread(wait_until, lambda: len(ear) == 2)
        await gone.says(speech(0.5))
        await gone.lines.close(gone.line.id)
        assert (await back.hears("turn_started"))["session_id"] == session_id


# --- an ear that dies


async def test_what_a_dead_ear_heard_is_heard_again() -> None:
    first, second = Ear("one"), Ear("two")
    async with client() as me:
        first.start()
        await me.says(silence(0.5), speech(1))
        await me.hears("speech_started")
        first.stop()
        assert turns() == []
        second.start()
        try:
            await me.says(speech(1), silence(1))
            await me.hears("turn_started")
        finally:
            second.stop()
        (job,) = turns()
        assert loud_seconds(job) == 2.0


async def test_a_turn_that_was_accepted_is_not_accepted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Died(BaseException): ...

    def die(_line: str, _entry: str, turns: int | None = None) -> None:
        if turns is not None:
            raise Died

    first, second = Ear("one"), Ear("two")
    async with client() as me:
        with monkeypatch.context() as patch:
            patch.setattr(hearing, "forget_until", die)
            first.start()
            await me.says(speech(1), silence(0.7))
            await asyncio.to_thread(wait_until, lambda: len(turns()) == 1)
            first.stop()
        second.start()
        try:
            await me.says(speech(2), silence(1))
            await asyncio.to_thread(wait_until, lambda: len(turns()) == 2)
        finally:
            second.stop()
        assert texts() == ["160", "320"]


async def test_a_database_that_is_away_is_waited_for(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []
    accept = spoken_questions.accept

    def late(*given: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise OperationalError("away", None, Exception())
        return accept(*given)

    monkeypatch.setattr(spoken_questions, "accept", late)
    monkeypatch.setattr(hearing, "_AGAIN_S", 0.01)
    async with client() as me:
        await me.says(speech(1), silence(1))
        await me.hears("turn_started")
        assert len(turns()) == 1


async def test_what_is_refused_is_told(ear: Ear) -> None:
    session_id = factories.conversation()
    with transaction() as session:
        row = session.get(Conversation, session_id)
        assert row is not None
        row.is_locked = True
    async with client(options={"session_id": session_id}) as me:
        await me.says(speech(1), silence(1))
        assert (await me.hears("error"))["code"] == "conflict"
        assert turns() == []


async def test_lines_of_a_dead_web_process_are_given_up(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ears, "SILENT_AFTER_S", 0.2)
    monkeypatch.setattr(voice_lines, "BEAT_S", 3600)
    async with client() as me:
        await me.says(speech(0.5))
        await asyncio.to_thread(wait_until, lambda: len(turns()) == 1)
        await asyncio.to_thread(wait_until, lambda: voice_lines.open_lines() == {})


# --- who talks over the answer


async def answering(me: Client) -> str:
    """The job of a turn that is being answered."""
    await me.says(speech(0.5), silence(0.8))
    job_id = (await me.hears("turn_started"))["job_id"]
    assert isinstance(job_id, str)
    return job_id


async def test_a_client_that_interrupts_says_what_it_heard(ear: Ear) -> None:
    async with client() as me:
        job_id = await answering(me)
        await me.commands("interrupt", heard_ms=420)
        assert await me.hears("interrupted") == {"type": "interrupted", "job_id": job_id, "heard_ms": 420}
        assert voice_lines.find_cut(job_id) == voice_lines.Cut(420)
        await me.commands("interrupt")  # nothing is being said
        await me.commands("end_of_turn")
        assert (await me.hears("status", "interrupted"))["type"] == "status"


async def test_an_answer_that_a_client_came_back_for_can_be_stopped(ear: Ear) -> None:
    async with client() as gone:
        job_id = await answering(gone)
    for heard_ms in (420, None):
        async with client() as me:
            await me.commands("resumed", job_id=job_id)
            if heard_ms is None:
                await me.says(speech(0.5))
            else:
                await me.commands("interrupt", heard_ms=heard_ms)
            assert await me.hears("interrupted") == {"type": "interrupted", "job_id": job_id, "heard_ms": heard_ms}
    assert voice_lines.find_cut(job_id) == voice_lines.Cut(420)  # the first counts


async def test_speech_over_the_answer_stops_it(ear: Ear) -> None:
    async with client() as me:
        job_id = await answering(me)
        await me.commands("playing", job_id=job_id, ms=60_000)
        await me.commands("told", job_id=job_id)
        await me.says(speech(0.5))
        event = await me.hears("interrupted")
        assert event["job_id"] == job_id
        assert 0 <= event["heard_ms"] < 20_000  # it was sent a moment ago


async def test_an_answer_that_was_heard_to_its_end_is_not_stopped(ear: Ear) -> None:
    async with client() as me:
        job_id = await answering(me)
        await me.commands("playing", job_id=job_id, ms=1)
        await me.commands("told", job_id=job_id)
        await me.says(silence(0.1), speech(0.5), silence(1))
        assert (await me.hears("interrupted", "turn_started"))["type"] == "turn_started"
        assert voice_lines.find_cut(job_id) is None


async def test_who_wants_no_barging_in_is_not_stopped(ear: Ear) -> None:
    async with client(barge_in=False) as me:
        job_id = await answering(me)
        await me.says(speech(0.5), silence(1))
        assert (await me.hears("interrupted", "turn_started"))["type"] == "turn_started"
        assert voice_lines.find_cut(job_id) is None
