"""/ws/jobs, by a real server: many jobs over one connection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from api import events
from config.queues import Kind
from storage import jobs
from tests import factories
from tests.api.conftest import Listening
from tests.api.helpers import Json, work
from tests.servers import wait_until


@pytest.fixture
def socket(live: Listening) -> Iterator[ClientConnection]:
    with connect(live.socket_url, proxy=None) as connection:
        yield connection


def hear(socket: ClientConnection) -> Json:
    return json.loads(socket.recv(timeout=20))


def hear_to_the_end(socket: ClientConnection, *job_ids: str) -> dict[str, list[tuple[int, str]]]:
    """Events by job, until each has ended."""
    heard: dict[str, list[tuple[int, str]]] = {job_id: [] for job_id in job_ids}
    going = set(job_ids)
    while going:
        event = hear(socket)
        heard[event["job_id"]].append((event["sequence_number"], event["type"]))
        if event["type"] in ("done", "error", "cancelled"):
            going.remove(event["job_id"])
    return heard


def tell(socket: ClientConnection, **command: Any) -> None:
    socket.send(json.dumps(command))


def is_alive(socket: ClientConnection) -> None:
    """It still takes commands, and says nothing that is left over."""
    tell(socket, subscribe=["nobody's"])
    assert hear(socket)["job_id"] == "nobody's"


def test_a_subscribed_job_is_heard_to_its_end(socket: ClientConnection, live: Listening) -> None:
    job_id = factories.job(input={"echo": "é"})
    tell(socket, subscribe=[job_id])
    assert hear(socket)["type"] == "queued"
    work(job_id)
    assert hear(socket)["type"] == "started"
    done = hear(socket)
    assert done.keys() == {"type", "job_id", "sequence_number", "response"}
    assert (done["sequence_number"], done["response"]) == (3, {"echo": "é"})
    wait_until(lambda: live.hub.listeners == 0)
    is_alive(socket)


def test_events_are_the_same_as_over_http(socket: ClientConnection, live: Listening) -> None:
    job_id = factories.job()
    work(job_id)
    tell(socket, subscribe=[job_id])
    here = [hear(socket) for _ in range(3)]
    text = live.client.get(f"/api/jobs/{job_id}/events").text
    there = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    assert here == there


def test_many_jobs_share_a_connection(socket: ClientConnection) -> None:
    ids = [factories.job() for _ in range(20)]
    tell(socket, subscribe=ids[:10])
    tell(socket, subscribe=ids[10:])
    for job_id in ids:
        work(job_id)
    heard = hear_to_the_end(socket, *ids)
    assert all(events == [(1, "queued"), (2, "started"), (3, "done")] for events in heard.values())


def test_a_listener_goes_on_where_it_was(socket: ClientConnection) -> None:
    first, second = factories.job(), factories.job()
    work(first)
    work(second)
    tell(socket, subscribe=[first, second], after={first: 2, second: -5, "another": 7})
    assert hear_to_the_end(socket, first, second) == {
        first: [(3, "done")],
        second: [(1, "queued"), (2, "started"), (3, "done")],
    }


def test_who_heard_the_end_hears_nothing(socket: ClientConnection) -> None:
    job_id = factories.job()
    work(job_id)
    for beyond in (3, 2**62, 2**63):
        tell(socket, subscribe=[job_id], after={job_id: beyond})
    is_alive(socket)


def test_an_unsubscribed_job_is_silent(socket: ClientConnection, live: Listening) -> None:
    quiet, loud = factories.job(), factories.job()
    tell(socket, subscribe=[quiet, loud])
    assert {hear(socket)["job_id"], hear(socket)["job_id"]} == {quiet, loud}
    tell(socket, unsubscribe=[quiet, "never subscribed"])
    wait_until(lambda: live.hub.listeners == 1)
    work(quiet)
    work(loud)
    assert [hear(socket)["job_id"] for _ in range(2)] == [loud, loud]
    tell(socket, subscribe=[quiet], after={quiet: 2})
    assert hear(socket)["type"] == "done"


def test_subscribing_twice_is_once(socket: ClientConnection, live: Listening) -> None:
    job_id = factories.job()
    tell(socket, subscribe=[job_id, job_id])
    tell(socket, subscribe=[job_id])
    assert hear(socket)["type"] == "queued"
    is_alive(socket)
    assert live.hub.listeners == 1


def test_an_ended_job_can_be_heard_again(socket: ClientConnection) -> None:
    job_id = factories.job()
    work(job_id)
    for _ in range(2):
        tell(socket, subscribe=[job_id])
        hear_to_the_end(socket, job_id)


RUBBISH = [
    "", "{", "null", "[]", "1", '"x"', '{"nope":1}', '{"subscribe":"x"}', '{"subscribe":[1]}', '{"subscribe":[null]}',
    '{"after":{"x":"1"}}', '{"after":{"x":1.5}}', '{"after":[]}', '{"unsubscribe":{}}', "[" * 50_000,
    '{"subscribe":["\\ud800"]}', '{"' + "x" * 5000 + '":1}',
]  # fmt: skip


def test_rubbish_is_refused_and_not_the_end(socket: ClientConnection) -> None:
    for frame in RUBBISH:
        socket.send(frame)
        answer = hear(socket)
        assert (answer["type"], answer["code"], answer["retryable"]) == ("refused", "unprocessable", False), frame
        assert len(json.dumps(answer)) < 500
    socket.send(b"\xff\xfe\x00")
    assert hear(socket)["type"] == "refused"
    socket.send("{}")
    is_alive(socket)


def test_unknown_jobs_are_refused_one_by_one(socket: ClientConnection) -> None:
    known, elses = factories.job(), factories.job(owner_id=factories.owner())
    work(known)
    tell(socket, subscribe=["nope", elses, "x" * 5000, "\0", known])
    refused = [hear(socket) for _ in range(4)]
    assert [answer["job_id"] for answer in refused] == ["nope", elses, "x" * 64, "\0"]
    assert {(answer["type"], answer["code"]) for answer in refused} == {("refused", "not_found")}
    hear_to_the_end(socket, known)


def test_one_connection_listens_to_so_many(socket: ClientConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_SUBSCRIPTIONS", 2)
    ids = [factories.job() for _ in range(3)]
    tell(socket, subscribe=ids)
    answers = [hear(socket) for _ in range(3)]
    assert sorted(answer["type"] for answer in answers) == ["queued", "queued", "refused"]
    assert "at most 2 jobs" in next(answer["message"] for answer in answers if answer["type"] == "refused")
    work(ids[0])
    assert [hear(socket)["type"] for _ in range(2)] == ["started", "done"]
    tell(socket, subscribe=[ids[2]])  # there is room again
    assert hear(socket)["job_id"] == ids[2]


def test_a_reader_that_fails_says_so(
    socket: ClientConnection, live: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def explode(_job_id: str) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(live.hub, "_read_row", explode)
    job_id = factories.job(Kind.CHAT)
    tell(socket, subscribe=[job_id])
    assert hear(socket)["type"] == "queued"
    answer = hear(socket)
    assert (answer["type"], answer["job_id"], answer["retryable"]) == ("refused", job_id, True)
    assert "secret" not in answer["message"]
    monkeypatch.undo()
    work(job_id)
    is_alive(socket)


def test_a_failure_inside_closes_the_connection(
    socket: ClientConnection, live: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    from websockets.exceptions import ConnectionClosed

    def explode(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(jobs, "get", explode)
    tell(socket, subscribe=[factories.job()])
    with pytest.raises(ConnectionClosed) as closed:
        hear(socket)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011
    assert "secret" not in closed.value.rcvd.reason


def test_a_client_that_leaves_is_forgotten(live: Listening) -> None:
    for leave in ("close", "drop"):
        with connect(live.socket_url, proxy=None) as socket:
            tell(socket, subscribe=[factories.job() for _ in range(5)])
            wait_until(lambda: live.hub.listeners == 5)
            if leave == "drop":
                socket.socket.close()
        wait_until(lambda: live.hub.listeners == 0, what="the server to notice")


def test_a_client_that_does_not_read_blocks_nobody(live: Listening) -> None:
    """It asks for more than the connection takes; the others are served, and its going is noticed."""
    import socket as sockets

    job_id = factories.job(input={"echo": "x" * 100_000})
    work(job_id)
    with connect(live.socket_url, proxy=None, max_queue=1) as deaf:
        deaf.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        for _ in range(300):
            tell(deaf, subscribe=[job_id])
        with connect(live.socket_url, proxy=None) as other:
            tell(other, subscribe=[job_id])
            hear_to_the_end(other, job_id)
        assert live.client.get("/health").status_code == 200
        deaf.socket.close()
    wait_until(lambda: live.hub.listeners == 0, what="the server to notice")
