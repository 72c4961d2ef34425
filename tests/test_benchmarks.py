"""What the benchmarks compute from what they hear: a wrong number there would be believed."""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks import in_process, llama_server, over_http
from benchmarks.__main__ import SECTIONS
from benchmarks.listeners import heard, leave, listen
from benchmarks.processes import Trouble
from benchmarks.systems import heard_by
from benchmarks.talk import Heard, Talk, questions, tokens_per_second
from tests.gguf_model import make_tiny_model
from tests.servers import wait_until

PIECES = ["the ", "ans", "wer ✓"]


class _Server(BaseHTTPRequestHandler):
    """Streams as llama-server does, and cuts its chunks wherever that is worst."""

    protocol_version = "HTTP/1.1"
    bodies: list[Any]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)  # type: ignore[attr-defined]
        events: list[Any] = [{"choices": [{"delta": {"content": piece}}]} for piece in [None, *PIECES]]
        events.append({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": body["max_tokens"]}})
        self._stream("".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events))

    def do_GET(self) -> None:
        self._stream("id: 1\ndata: {}\n\nid: 2\ndata: {}\n\n")

    def _stream(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        data = (text + "data: [DONE]\n\n").encode()
        for start in range(0, len(data), 7):
            piece = data[start : start + 7]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    server.bodies = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def _spoken(*talks: Talk) -> list[dict[str, Any]]:
    return [{name: getattr(talk, name) for name in Talk.__dataclass_fields__} for talk in talks]


def test_every_section_can_be_measured() -> None:
    assert all(callable(importlib.import_module(f"benchmarks.{name}").measure) for name in SECTIONS)


def test_a_stream_is_heard_piece_by_piece_wherever_its_chunks_are_cut(server: Any) -> None:
    talk = Talk(["one", "two"], tokens=5, follow_up=True)
    [answers] = heard_by([talk], over_http.converse("llama-server", server.server_port, _spoken(talk)))
    assert [answer.text for answer in answers] == ["".join(PIECES)] * 2
    assert [len(answer.times) for answer in answers] == [3, 3]
    assert all(answer.asked <= answer.times[0] <= answer.times[-1] <= (answer.ended or 0) for answer in answers)
    assert [len(body["messages"]) for body in server.bodies] == [1, 3]


def test_an_answer_of_another_length_is_no_measurement() -> None:
    with pytest.raises(Trouble, match="3 tokens instead of 5"):
        heard_by([Talk(["?"], tokens=5)], [[{"asked": 0.0, "times": [1.0], "ended": 2.0, "tokens": 3}]])


def test_the_rate_is_from_the_first_question_to_the_last_token() -> None:
    answers = [Heard(10.0, [11.0], ended=12.0), Heard(11.0, [13.0], ended=15.0), Heard(11.0, [14.0])]
    assert tokens_per_second(answers, 64) == pytest.approx(2 * 64 / 5)


def test_questions_differ_and_come_again_with_their_seed() -> None:
    asked = questions(50, 12, seed=1)
    assert len(set(asked)) == 50
    assert asked == questions(50, 12, seed=1)
    assert not set(asked) & set(questions(50, 12, seed=2))


def test_a_crowd_counts_the_events_of_all(server: Any) -> None:
    listen(server.server_port, ["a", "b"], 3)
    wait_until(lambda: heard() == 6)
    leave()
    assert heard() == 0


def test_what_is_beside_is_given_up_when_the_others_are_done(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "tiny.gguf", endless=True)
    in_process.open_engine(str(model), context=2048, slots=2, batch=256, threads=1)
    talks = [Talk(["the question"], 8), Talk(["the text"], 1900, work="summarize", beside=True)]
    chat, summary = (answers[0] for answers in heard_by(talks, in_process.converse(_spoken(*talks))))
    assert chat.tokens == 8
    assert chat.asked > summary.times[0]  # asked when the summary was being written
    assert summary.ended is None
    assert 0 < len(summary.times) < 1900


def test_a_server_that_is_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_SERVER", str(tmp_path / "missing"))
    with pytest.raises(Trouble, match="LLAMA_SERVER"):
        llama_server.executable(print)


def test_no_server_is_started_on_a_port_of_another(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Server, "do_GET", lambda self: self._answer({"model_path": "another.gguf"}), raising=False)
    monkeypatch.setattr(_Server, "_answer", _answer, raising=False)
    with pytest.raises(Trouble, match="another server"):
        llama_server._serves(server.server_port, Path("mine.gguf"))


def _answer(self: _Server, body: Any) -> None:
    data = json.dumps(body).encode()
    self.send_response(200)
    self.send_header("Content-Length", str(len(data)))
    self.end_headers()
    self.wfile.write(data)
