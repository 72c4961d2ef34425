"""The external summariser is sent what is new, asked until it is done, and left at once when nobody waits any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from config.errors import BackchannelError, DeadlineExceeded, ProviderRefused, ProviderUnavailable
from tests.standins.metacognition_server import MetacognitionServer, metacognition_server
from tests.workers.summaries.scripted import request_for, turns
from workers.ports import Completion, Delta, SummaryRequest, SummaryStep
from workers.summaries import metacognition
from workers.summaries.metacognition import MetacognitionSummarizer, Pace

QUICK = Pace(poll_s=0.01, give_up_s=20, timeout_s=5, retries=2)
Json = dict[str, Any]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetacognitionServer]:
    monkeypatch.setattr(metacognition, "_FIRST_PAUSE_S", 0.01)
    with metacognition_server() as running:
        yield running


def run(
    server: MetacognitionServer,
    request: SummaryRequest,
    pace: Pace = QUICK,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[str, list[SummaryStep], Completion]:
    items = list(
        MetacognitionSummarizer(server.url + "/", SecretStr("secret-token"), pace).summarize(request, cancelled)
    )
    text = "".join(item.text for item in items if isinstance(item, Delta))
    assert isinstance(items[-1], Completion)
    return text, [item for item in items if isinstance(item, SummaryStep)], items[-1]


def sent(call: Json) -> tuple[str | None, int, int]:
    return call["summary_id"], call["index_of_first_new_message"], len(call["new_messages"])


def test_everything_is_sent_once_and_asked_for_until_it_is_read(server: MetacognitionServer) -> None:
    server.reads = 4
    text, steps, completion = run(server, request_for(turns(10)))
    assert (text, completion.finish_reason) == ("About 10 messages.", "stop")
    assert [sent(call) for call in server.calls] == [(None, 0, 10), ("summary-1", 10, 0), ("summary-1", 10, 0)]
    assert server.calls[0]["new_messages"][1] == {
        "role": "assistant",
        "content": "Message number 1 says some more words than that.",
    }
    assert [(step.done, step.total, step.unit) for step in steps] == [
        (4, 10, "messages"),
        (8, 10, "messages"),
        (10, 10, "messages"),
    ]
    assert {headers["authorization"] for headers in server.headers} == {"Bearer secret-token"}


def test_the_next_time_only_what_is_new_is_sent(server: MetacognitionServer) -> None:
    _, steps, _ = run(server, request_for(turns(10)))
    text, _, _ = run(server, request_for(turns(13), place=steps[-1].place))
    assert sent(server.calls[-1]) == ("summary-1", 10, 3)
    assert text == "About 13 messages."


def test_a_conversation_that_was_changed_or_cut_begins_anew(server: MetacognitionServer) -> None:
    _, steps, _ = run(server, request_for(turns(10)))
    for changed in (turns(9), (*turns(1, start=50), *turns(12)[1:])):
        run(server, request_for(changed, place=steps[-1].place))
        assert sent(server.calls[-1]) == (None, 0, len(changed))


def test_a_wrong_index_is_corrected_once(server: MetacognitionServer) -> None:
    """A call whose answer was lost, with a worker, is found to have been heard."""
    _, steps, _ = run(server, request_for(turns(10)))
    run(server, request_for(turns(15), place=steps[-1].place))
    server.calls.clear()
    text, _, _ = run(server, request_for(turns(20), place=steps[-1].place))
    assert [sent(call) for call in server.calls] == [("summary-1", 10, 10), ("summary-1", 15, 5)]
    assert text == "About 20 messages."


def test_what_the_service_forgot_is_sent_again(server: MetacognitionServer) -> None:
    _, steps, _ = run(server, request_for(turns(10)))
    server.forget("summary-1", keep=4)
    run(server, request_for(turns(10), place=steps[-1].place))
    assert sent(server.calls[-1]) == ("summary-1", 4, 6)


def test_a_service_that_cannot_count_is_left(server: MetacognitionServer) -> None:
    wrong = (400, {"detail": "Expected index 3 but got 0"}, {})
    server.replies = [wrong, wrong]
    with pytest.raises(ProviderRefused, match="lost count"):
        run(server, request_for(turns(10)))


def test_more_than_there_is_makes_a_new_conversation(server: MetacognitionServer) -> None:
    server.replies = [(400, {"detail": "Expected index 30, got 0"}, {})]
    run(server, request_for(turns(10)))
    assert [sent(call) for call in server.calls] == [(None, 0, 10), (None, 0, 10)]


# --- what goes wrong


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        ((401, {}, {}), ProviderRefused, "METACOGNITION_AUTH_TOKEN"),
        ((403, {}, {}), ProviderRefused, "METACOGNITION_AUTH_TOKEN"),
        ((422, {}, {}), ProviderRefused, "answered 422"),
        ((302, {}, {"location": "http://127.0.0.1:1/"}), ProviderRefused, "answered 302"),
        ((200, b"<html>", {}), ProviderRefused, "no summary"),
        ((200, [], {}), ProviderRefused, "no summary"),
        ((200, {"status": "ok"}, {}), ProviderRefused, "no summary"),
        ((200, {"summary_id": "a", "latest_processed_message_idx": "x"}, {}), ProviderRefused, "no summary"),
        ((200, {"status": "failed", "summary_id": "a"}, {}), ProviderRefused, "could not summarise"),
    ],
)
def test_what_will_not_pass_is_told_at_once(
    server: MetacognitionServer, reply: Any, error: type[BackchannelError], words: str
) -> None:
    server.replies = [reply]
    with pytest.raises(error, match=words) as raised:
        run(server, request_for(turns(3)))
    assert len(server.calls) == 1
    assert not raised.value.retryable
    assert "secret-token" not in str(raised.value)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again(server: MetacognitionServer, status: int) -> None:
    server.replies = [(status, {}, {})] * 2
    text, _, _ = run(server, request_for(turns(3)))
    assert (text, len(server.calls)) == ("About 3 messages.", 3)


def test_it_is_given_back_when_that_happens_too_often(server: MetacognitionServer) -> None:
    server.replies = [(503, {}, {})] * 3
    with pytest.raises(ProviderUnavailable, match="answered 503") as raised:
        run(server, request_for(turns(3)))
    assert raised.value.retryable


def test_a_pause_longer_than_an_attempt_may_take_is_left_to_the_queue(server: MetacognitionServer) -> None:
    server.replies = [(429, {}, {"retry-after": "120"})]
    with pytest.raises(ProviderUnavailable) as raised:
        run(server, request_for(turns(3)))
    assert raised.value.headers == {"Retry-After": "120"}


def test_nobody_there() -> None:
    gone = MetacognitionServer(url="http://127.0.0.1:1")
    with pytest.raises(ProviderUnavailable, match="did not answer"):
        run(gone, request_for(turns(3)), Pace(poll_s=0.01, retries=0))


def test_it_is_given_up_in_the_end(server: MetacognitionServer) -> None:
    server.reads = 0
    with pytest.raises(DeadlineExceeded, match="in time"):
        run(server, request_for(turns(3)), Pace(poll_s=0.01, give_up_s=0.2))


@pytest.mark.parametrize("hangs", [False, True])
def test_a_cancel_is_effective_between_calls_and_within_one(server: MetacognitionServer, hangs: bool) -> None:
    flag, released = threading.Event(), threading.Event()
    server.reads = 0

    def asked() -> None:
        if len(server.calls) == 1:
            flag.set()
            if hangs:
                released.wait(10)

    server.before = asked
    started = time.monotonic()
    text, _, completion = run(server, request_for(turns(3)), Pace(poll_s=0.01, give_up_s=20, timeout_s=10), flag.is_set)
    assert (text, completion.finish_reason) == ("", "cancelled")
    assert time.monotonic() - started < 5
    released.set()


def test_an_attempt_after_the_text_was_told_says_nothing_twice(server: MetacognitionServer) -> None:
    assert run(server, request_for(turns(3), resume_text="About 3 messages."))[0] == ""
    assert run(server, request_for(turns(3), resume_text="About 3 "))[0] == "messages."
    assert run(server, request_for(turns(3), resume_text="About two."))[0] == "\n\nAbout 3 messages."
