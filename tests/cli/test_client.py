"""The client: every event once and in order whatever breaks, errors as sentences, uploads that stay out of memory."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from cli.client import Client
from cli.problems import ClientError
from tests.cli.stand_in import StandIn
from tests.servers import free_port

Json = dict[str, Any]
TEN = [
    {"type": "started"},
    *({"type": "content", "content": f"{n} "} for n in range(7)),
    {"type": "done", "response": {}},
]

pytestmark = pytest.mark.usefixtures("hasty")


def numbers(client: Client, job_id: str, after: int = 0) -> list[int]:
    return [event["sequence_number"] for event in client.events(job_id, after) if event]


# --- events ---


@pytest.mark.parametrize("how", ["clean", "mid"])
@pytest.mark.parametrize("after", range(10))
def test_a_cut_stream_goes_on_behind_the_last_event(stand_in: StandIn, after: int, how: str) -> None:
    job = stand_in.add_job("chat", TEN)
    stand_in.cuts = [(after, how), (after, how), (min(after + 3, 9), how)]
    with Client(stand_in.url) as client:
        assert numbers(client, job["id"]) == list(range(1, 11))
    opened = stand_in.asked("GET .*/events")
    assert len(opened) == 4
    assert opened[1].headers["Last-Event-ID"] == (str(after) if after else None)


def test_what_is_sent_again_is_not_told_again(stand_in: StandIn) -> None:
    job = stand_in.add_job("chat", TEN)
    stand_in.replays, stand_in.cuts = True, [(4, "mid"), (8, "clean")]
    with Client(stand_in.url) as client:
        assert numbers(client, job["id"]) == list(range(1, 11))


def test_events_outlive_a_restart_of_the_server(stand_in: StandIn) -> None:
    job = stand_in.add_job("chat", TEN[:4])
    said: list[str] = []
    with Client(stand_in.url, notify=said.append) as client:
        events = client.events(job["id"])
        heard = [next(events) for _ in range(5)]
        stand_in.stop()
        for event in TEN[4:]:
            stand_in.tell(job["id"], event)
        threading.Timer(0.2, stand_in.start).start()
        heard += list(events)
    assert [event["sequence_number"] for event in heard if event] == list(range(1, 11))
    assert len(said) == 1


def test_it_gives_up_when_the_server_stays_away(stand_in: StandIn) -> None:
    job = stand_in.add_job("chat", TEN[:4])
    with Client(stand_in.url) as client:
        events = client.events(job["id"])
        next(events)
        stand_in.stop()
        started = time.monotonic()
        with pytest.raises(ClientError, match="Given up after 1 s") as caught:
            list(events)
    assert caught.value.code == "unreachable"
    assert 0.9 < time.monotonic() - started < 5


def test_an_answer_of_503_is_waited_out_and_404_is_not(stand_in: StandIn) -> None:
    job = stand_in.add_job("chat", TEN)
    problem = {"detail": "Redis cannot be reached right now.", "code": "unavailable"}
    stand_in.refusals = [("GET .*/events", 503, problem, {"Retry-After": "0"})] * 3
    with Client(stand_in.url) as client:
        assert numbers(client, job["id"]) == list(range(1, 11))
        del stand_in.jobs[job["id"]]
        with pytest.raises(ClientError, match="There is no job") as caught:
            numbers(client, job["id"])
    assert (caught.value.code, caught.value.status) == ("not_found", 404)


def test_what_was_heard_to_its_end_ends_at_once(stand_in: StandIn) -> None:
    job = stand_in.add_job("chat", TEN)
    with Client(stand_in.url) as client:
        assert numbers(client, job["id"], after=10) == []
        assert numbers(client, job["id"], after=7) == [8, 9, 10]


def test_a_heartbeat_is_none(stand_in: StandIn) -> None:
    job = stand_in.add_job("chat", TEN[:1])
    with Client(stand_in.url) as client:
        events = client.events(job["id"])
        assert [next(events), next(events), next(events)][-1] is None
        stand_in.tell(job["id"], {"type": "cancelled"})
        assert [event["type"] for event in events if event] == ["cancelled"]


# --- answers ---


def failure(stand_in: StandIn, status: int, body: Any, **headers: str) -> ClientError:
    stand_in.refusals = [("GET /api/jobs", status, body, headers)]
    with Client(stand_in.url) as client, pytest.raises(ClientError) as caught:
        client.jobs(1)
    return caught.value


def test_a_problem_is_a_sentence(stand_in: StandIn) -> None:
    body = {
        "detail": "The request holds values that cannot be used.",
        "code": "unprocessable",
        "errors": [{"field": "input.seed", "message": "too small"}, {"field": "x", "message": "unknown"}],
    }
    error = failure(stand_in, 422, body)
    assert error.message == "The request holds values that cannot be used (input.seed: too small; x: unknown)."
    assert (error.code, error.status, error.exit_code) == ("unprocessable", 422, 1)


def test_not_signed_in_says_how(stand_in: StandIn) -> None:
    assert "BACKCHANNEL_API_KEY" in failure(stand_in, 401, {"detail": "Sign in first.", "code": "unauthorized"}).message


@pytest.mark.parametrize(("status", "body"), [(502, b"<html>Bad gateway</html>"), (302, b""), (500, ["x"])])
def test_an_error_that_is_no_problem_document(stand_in: StandIn, status: int, body: Any) -> None:
    assert failure(stand_in, status, body).message.endswith("is it Backchannel?")


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", [1, 2], b""])
def test_a_stranger_is_recognised(stand_in: StandIn, body: Any) -> None:
    assert failure(stand_in, 200, body).code == "stranger"


def test_a_stranger_that_streams(stand_in: StandIn) -> None:
    stand_in.refusals = [("GET .*", 200, b"data: [1]\n\n", {"Content-Type": "text/event-stream"})]
    with Client(stand_in.url) as client, pytest.raises(ClientError, match="does not speak"):
        list(client.events("some-job"))


def test_nobody_there() -> None:
    with Client(f"http://user:hidden@127.0.0.1:{free_port()}/") as client, pytest.raises(ClientError) as caught:
        client.jobs(1)
    assert "backchannel up" in caught.value.message
    assert "hidden" not in caught.value.message


def test_a_bad_key_is_not_repeated(stand_in: StandIn) -> None:
    with Client(stand_in.url, "secret\nkey") as client, pytest.raises(ClientError) as caught:
        client.jobs(1)
    assert "secret" not in caught.value.message


def test_text_that_is_none(stand_in: StandIn) -> None:
    with Client(stand_in.url) as client, pytest.raises(ClientError, match="not valid text"):
        client.submit("chat", {"message": "half \ud800"}, "k")


def test_proxies_of_the_environment_are_not_asked(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with Client(stand_in.url, "the-key") as client:
        assert client.jobs(1) == []
    assert stand_in.requests[0].headers["X-API-Key"] == "the-key"


def test_a_server_below_a_path(stand_in: StandIn) -> None:
    with Client(f"{stand_in.url}/below/") as client, pytest.raises(ClientError):
        client.job("x")
    assert stand_in.requests[0].path == "/below/api/jobs/x"


# --- listings ---


def test_listings_go_over_pages(stand_in: StandIn) -> None:
    made = [stand_in.add_job("noop", [])["id"] for _ in range(450)]
    job = stand_in.add_job("import", [])
    stand_in.items[job["id"]] = [{"item_index": n, "status": "failed" if n % 2 else "created"} for n in range(900)]
    with Client(stand_in.url) as client:
        assert [row["id"] for row in client.jobs(449, kind="noop")] == made[:0:-1]
        assert [row["id"] for row in client.jobs(1000, kind="noop", status=None)] == made[::-1]
        assert [row["item_index"] for row in client.items(job["id"], "failed")] == list(range(1, 900, 2))


# --- uploads ---


def test_an_upload_is_sent_in_pieces(stand_in: StandIn, tmp_path: Path) -> None:
    file = tmp_path / "export.zip"
    with file.open("wb") as target:
        target.write(b"begin")
        target.seek(100_000_000)
        target.write(b"end")
    told: list[int] = []
    tracemalloc.start()
    try:
        with Client(stand_in.url) as client:
            job = client.upload(file, 'Grüße "1".zip', "the-key", told.append)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    sent = stand_in.uploads[0]
    assert (sent.job_id, sent.size) == (job["id"], file.stat().st_size)
    assert sent.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert sum(told) == sent.size
    assert max(told) <= 1 << 20
    assert peak < 8_000_000


def test_a_file_that_cannot_be_read(stand_in: StandIn, tmp_path: Path) -> None:
    with Client(stand_in.url) as client, pytest.raises(ClientError, match=r"The file cannot be read: No such file"):
        client.upload(tmp_path / "gone.zip", "gone.zip", "k", lambda _: None)


def test_a_file_that_grows_while_it_is_sent(stand_in: StandIn, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    file.write_bytes(b"x" * 200_000)

    def grow(_size: int) -> None:
        with file.open("ab") as target:
            target.write(b"y" * 100)

    with Client(stand_in.url) as client, pytest.raises(ClientError, match="changed while it was sent"):
        client.upload(file, "export.json", "k", grow)
    assert stand_in.uploads == []


def test_a_submitted_job_has_its_key(stand_in: StandIn) -> None:
    with Client(stand_in.url) as client:
        client.submit("chat", {"message": "ä\u2028"}, "k")
    (request,) = stand_in.asked("POST /api/jobs")
    assert request.body == {"kind": "chat", "input": {"message": "ä\u2028"}}
    assert (request.headers["Idempotency-Key"], request.headers["Prefer"]) == ("k", "respond-async")


def test_a_file_that_shrinks_while_it_is_sent(stand_in: StandIn, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    file.write_bytes(b"x" * 200_000)
    with Client(stand_in.url) as client, pytest.raises(ClientError, match="changed while it was sent"):
        client.upload(file, "export.json", "k", lambda _: os.truncate(file, 100))
    assert stand_in.uploads == []
