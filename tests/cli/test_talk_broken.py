"""`backchannel talk`: an answer comes back once, whatever happens to the connection, or a sentence says why not."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from cli import talk
from tests.cli.asking import (
    LOG,
    QUESTION,
    SOUNDS,
    Ask,
    Json,
    answers,
    ask,
    goes_on,
    house,
    tell_log,
    turn_done,
    turn_started,
    written,
)
from tests.cli.conftest import Run
from tests.cli.voice_stand_in import SESSION, TURN, Connected, VoiceStandIn, numbered
from workers.voice.wav import write_wav

__all__ = ["ask", "house"]


# --- a connection that is cut


@pytest.mark.parametrize("number", range(1, len(LOG) + 1))
def test_cut_in_the_middle_of_an_answer_it_goes_on_behind(
    ask: Ask, house: VoiceStandIn, tmp_path: Path, number: int
) -> None:
    def breaks(line: Connected) -> None:
        line.ready()
        line.question()
        line.tell({"type": "speech_started"}, turn_started())
        tell_log(line, to=number)
        line.cut()

    house.scripts = [breaks, goes_on]
    out = tmp_path / "answer.wav"
    result = ask("--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.replace("\n", "") == "> how do I prune rosesPrune them in winter. Yes."
    assert written(out) == b"".join(SOUNDS)
    assert "hearing the rest of the answer" in result.stderr
    assert house.connections[1].query.items() >= {"job_id": TURN, "after": str(number), "session_id": SESSION}.items()


def test_sound_that_was_cut_in_half_comes_again(ask: Ask, house: VoiceStandIn, tmp_path: Path) -> None:
    def breaks(line: Connected) -> None:
        line.ready()
        line.question()
        line.tell({"type": "speech_started"}, turn_started())
        tell_log(line, to=6)
        line.tell(LOG[6])
        line.sound(SOUNDS[1][:300])
        line.cut()

    house.scripts = [breaks, goes_on]
    out = tmp_path / "answer.wav"
    assert ask("--out", out).exit_code == 0
    assert house.connections[1].query["after"] == "6"
    assert written(out) == b"".join(SOUNDS)


def test_cut_while_it_is_asked_it_asks_again(ask: Ask, house: VoiceStandIn) -> None:
    def breaks(line: Connected) -> None:
        line.ready()
        line.some_sound()
        line.cut()

    house.scripts = [breaks, answers]
    result = ask("--real-time")
    assert (result.exit_code, "once more" in result.stderr) == (0, True)


def test_a_turn_that_began_while_nobody_listened_is_found(ask: Ask, house: VoiceStandIn) -> None:
    house.jobs = [{"id": TURN[:-1] + "0", "kind": "voice"}]

    def breaks(line: Connected) -> None:
        line.ready()
        line.question()
        line.tell({"type": "speech_started"})
        house.jobs = [{"id": TURN, "kind": "voice"}, *house.jobs]
        line.cut()

    def silent(line: Connected) -> None:
        line.ready()
        line.wait()

    house.scripts = [breaks, silent, goes_on]
    result = ask()
    assert result.exit_code == 0, result.output
    assert house.connections[2].query.items() >= {"job_id": TURN, "after": "0"}.items()


def test_sound_that_is_no_longer_kept_is_done_without(ask: Ask, house: VoiceStandIn, tmp_path: Path) -> None:
    def forgets(line: Connected) -> None:
        line.ready()
        line.question()
        line.tell(turn_started(), *LOG[:6])
        line.tell({"type": "status", "status": "sound_gone", "message": "This sound is gone.", "job_id": TURN})
        tell_log(line, 6)
        line.tell(turn_done())
        line.wait()

    house.scripts = [forgets]
    out = tmp_path / "answer.wav"
    assert ask("--out", out).exit_code == 0
    assert written(out) == SOUNDS[1] + SOUNDS[2]


# --- what goes wrong


def fails(result: Result, *words: str) -> None:
    """In one sentence, on stderr."""
    assert result.exit_code in (1, 2), result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(("Error: ", "No answer: ")), result.stderr
    assert all(word in last for word in words), last
    assert "Traceback" not in result.output


def test_a_turn_that_failed_is_no_answer(ask: Ask, house: VoiceStandIn) -> None:
    def broken(line: Connected) -> None:
        line.ready()
        line.question()
        line.tell({"type": "speech_started"}, turn_started())
        error = {"type": "error", "code": "model_unavailable", "message": "No model.", "retryable": False}
        line.tell(*numbered(error))
        line.tell(turn_done("failed"))
        line.wait()

    house.scripts = [broken]
    result = ask()
    assert (result.exit_code, "No answer: No model." in result.stderr) == (1, True)


def test_an_utterance_that_is_refused_is_no_answer(ask: Ask, house: VoiceStandIn) -> None:
    def full(line: Connected) -> None:
        line.ready()
        line.question()
        error = {"type": "error", "code": "quota_used_up", "message": "Enough for today.", "retryable": True}
        line.tell({"type": "speech_started"}, error)
        line.wait()

    house.scripts = [full]
    result = ask()
    assert (result.exit_code, "Enough for today." in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(4401, "Sign in."), (4404, "There is no conversation."), (4408, "You do not take what is sent to you.")],
)
def test_a_line_that_is_refused_says_why(ask: Ask, house: VoiceStandIn, code: int, reason: str) -> None:
    def refuses(line: Connected) -> None:
        line.tell({"type": "error", "code": "x", "message": reason, "retryable": False})
        line.close(code, reason[:10])

    house.scripts = [refuses]
    fails(ask(), reason)
    assert len(house.connections) == 1


def test_a_server_that_is_full_is_waited_for(ask: Ask, house: VoiceStandIn) -> None:
    house.scripts = [lambda line: line.close(4429, "As many people are speaking as may."), answers]
    result = ask()
    assert (result.exit_code, "As many people are speaking" in result.stderr) == (0, True)


def test_who_may_not_is_told_before_anything_is_sent(ask: Ask, house: VoiceStandIn) -> None:
    house.refuses = (401, "You are not signed in.")
    fails(ask(), "not signed in", "--api-key")
    assert house.connections == []


def test_nobody_is_there(ask: Ask, house: VoiceStandIn) -> None:
    fails(ask("--url", "http://127.0.0.1:9"), "does not answer")


def test_something_else_is_there(ask: Ask, house: VoiceStandIn) -> None:
    def babbles(line: Connected) -> None:
        line.tell([1, 2])  # type: ignore[arg-type]
        line.wait()

    house.scripts = [babbles]
    fails(ask(), "does not speak as Backchannel does")


def test_a_server_that_says_nothing_is_not_waited_for_without_end(
    ask: Ask, house: VoiceStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "QUIET_S", 0.2)
    house.scripts = [lambda line: (line.ready(), line.wait())]  # type: ignore[func-returns-value]
    fails(ask(), "doctor")


def test_why_a_turn_waits_is_told(ask: Ask, house: VoiceStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "LOOK_S", 0.0)
    looked = threading.Event()

    def slow(line: Connected) -> None:
        line.ready()
        line.question()
        line.tell({"type": "speech_started"}, turn_started())
        assert looked.wait(20)
        tell_log(line)
        line.tell(turn_done())
        line.wait()

    look = talk.Waiting.look

    def noticed(self: Any, job: Json) -> None:
        look(self, job)
        looked.set()

    monkeypatch.setattr(talk.Waiting, "look", noticed)
    house.scripts = [slow]
    result = ask()
    assert (result.exit_code, "Waiting: the model is loading." in result.stderr) == (0, True)


@pytest.mark.parametrize(
    ("content", "word"), [(b"", "sound"), (b"no sound" * 50, "sound"), (write_wav(QUESTION[:0], 16_000), "sound")]
)
def test_a_file_that_is_no_sound(ask: Ask, house: VoiceStandIn, tmp_path: Path, content: bytes, word: str) -> None:
    file = tmp_path / "rubbish.wav"
    file.write_bytes(content)
    fails(ask(file=file), word)
    assert house.connections == []


def test_paths_that_cannot_be(ask: Ask, run: Run, tmp_path: Path) -> None:
    fails(ask(file=tmp_path / "missing.wav"), "--file")
    fails(ask("--out", tmp_path / "no" / "folder.wav"), "--out")
    fails(ask("--out", tmp_path), "--out")
