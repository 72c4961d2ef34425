"""`backchannel chat`: the answer streams, and Ctrl-C stops it at the server, too."""

from __future__ import annotations

import json
import signal
from typing import Any

from tests.cli.conftest import Run, Start
from tests.cli.stand_in import StandIn
from tests.servers import wait_until

Json = dict[str, Any]

SOURCE = {"conversation_id": "c-1", "title": "Pruning\nroses", "message_id": "m", "text": "…", "score": 0.7123}
RESPONSE = {"content": "Cut them.", "model": "tiny", "session_id": "s", "sources": [SOURCE]}
STARTED = {"type": "started", "attempt": 1}
ANSWERING = {"type": "status", "status": "generating_response", "model": "tiny"}


def said(*pieces: str) -> list[Json]:
    return [{"type": "content", "content": piece} for piece in pieces]


def asked(stand_in: StandIn) -> Json:
    (request,) = stand_in.asked("POST /api/jobs")
    assert request.body["kind"] == "chat"
    body: Json = request.body["input"]
    return body


def test_the_answer_then_its_sources(stand_in: StandIn, run: Run) -> None:
    stand_in.scripts = [[STARTED, ANSWERING, *said("Cut", " them."), {"type": "done", "response": RESPONSE}]]
    result = run("chat", "When", "do I prune?")
    assert result.exit_code == 0
    assert result.stdout == "Cut them.\n\nSources:\n  0.71  Pruning roses  c-1\n"
    assert result.stderr == "[tiny]\n"
    assert asked(stand_in) == {"message": "When do I prune?", "use_rag": True}


def test_json_is_the_result(stand_in: StandIn, run: Run) -> None:
    stand_in.scripts = [[STARTED, ANSWERING, *said("Cut them."), {"type": "done", "response": RESPONSE}]]
    result = run("chat", "x", "--json")
    assert json.loads(result.stdout) == RESPONSE
    assert result.stderr == ""


def test_every_option_is_sent(stand_in: StandIn, run: Run) -> None:
    stand_in.scripts = [[{"type": "done", "response": RESPONSE}]]
    given = "--session s --model m --system y --no-rag --temperature 0 --max-tokens 9 --seed 7"
    assert run("chat", "x", *given.split()).exit_code == 0
    assert asked(stand_in) == {
        "message": "x",
        "session_id": "s",
        "model": "m",
        "system": "y",
        "use_rag": False,
        "temperature": 0.0,
        "max_tokens": 9,
        "seed": 7,
    }


def test_a_new_conversation(stand_in: StandIn, run: Run) -> None:
    stand_in.scripts = [[{"type": "done", "response": RESPONSE}]]
    run("chat", "x", "--new")
    assert asked(stand_in)["session_id"] == "a-new-session"
    assert run("chat", "x", "--new", "--session", "s").exit_code == 2


def test_the_message_from_stdin(stand_in: StandIn, run: Run) -> None:
    stand_in.scripts = [[{"type": "done", "response": RESPONSE}]]
    run("chat", "-", input="Grüße,\nRose\xff".encode("latin-1"))
    assert asked(stand_in)["message"] == "Gr\ufffd\ufffde,\nRose\ufffd"
    assert run("chat", "-", input=" \n").exit_code == 2


def test_a_cut_stream_shows_every_word_once(stand_in: StandIn, run: Run) -> None:
    words = [f"{number} " for number in range(30)]
    stand_in.scripts = [[STARTED, *said(*words), {"type": "done", "response": {**RESPONSE, "sources": None}}]]
    stand_in.cuts = [(5, "mid"), (5, "clean"), (20, "mid"), (31, "clean")]
    assert run("chat", "x").stdout == "".join(words) + "\n"


def test_a_reset_starts_over(stand_in: StandIn, run: Run) -> None:
    lost = [STARTED, *said("Cut th"), {"type": "reset"}, *said("Cut them."), {"type": "done", "response": RESPONSE}]
    stand_in.scripts = [lost]
    result = run("chat", "x")
    assert result.stdout.startswith("Cut th\nCut them.\n")
    assert "starts over" in result.stderr


def test_what_stands_in_the_way_is_told(stand_in: StandIn, run: Run) -> None:
    events = [
        STARTED,
        {"type": "status", "status": "retrieval_unavailable", "message": "No index worker answered."},
        {"type": "status", "status": "history_shortened", "dropped_messages": 4},
        *said("half"),
        {"type": "status", "status": "retrying", "message": "Broken pipe.", "retry_in_s": 2.4, "code": "x"},
        *said(" and half\x1b]0;title\x07"),
        {"type": "done", "response": {**RESPONSE, "sources": []}},
    ]
    blocked = stand_in.add_job("chat", events, blocked_by="the model is loading")
    stand_in.add_job = lambda *_: blocked  # type: ignore[method-assign]
    result = run("chat", "x")
    assert result.stdout == "half\n and half]0;title\n"
    for sentence in ("Waiting: the model is loading.", "without sources: No index", "oldest 4", "Trying again in 2 s"):
        assert sentence in result.stderr


def test_a_failure_is_a_sentence(stand_in: StandIn, run: Run) -> None:
    failed = {"type": "error", "code": "prompt_too_long", "message": "The prompt is too long.", "retryable": False}
    stand_in.scripts = [[STARTED, *said("Hm"), failed], [{"type": "cancelled"}]]
    result = run("chat", "x")
    assert (result.exit_code, result.stdout) == (1, "Hm\n")
    assert result.stderr == "Error: No answer: The prompt is too long.\n"
    assert run("chat", "x").stderr == "Error: The answer was cancelled.\n"


def test_no_server(stand_in: StandIn, run: Run) -> None:
    stand_in.stop()
    result = run("chat", "x")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def test_ctrl_c_cancels_the_job(stand_in: StandIn, start: Start) -> None:
    stand_in.scripts = [[STARTED, ANSWERING, *said("Once upon")]]
    process = start("chat", "Tell me a story")
    assert process.stdout is not None
    assert process.stdout.read(9) == "Once upon", "text is written as it comes"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert stdout == "\n"
    assert "is cancelled" in stderr
    assert "Traceback" not in stderr
    wait_until(lambda: [job["status"] for job in stand_in.jobs.values()] == ["cancelled"])
