"""What all adapters share, tested by one that says what it is told; real streams are tested with each adapter."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from config.catalogue import ModelSpec, ProviderSpec
from config.errors import (
    BackchannelError,
    DeadlineExceeded,
    PromptTooLong,
    ProviderRefused,
    ProviderUnavailable,
    Unusable,
)
from config.settings import Settings
from tests.servers import wait_until
from tests.workers.llm.answers import ask, collect
from workers.llm.reader import Reader
from workers.llm.remote import GO_ON, Item, RemoteModel, TryAgain
from workers.ports import Attachment, ChatMessage, ChatRequest, Completion, Delta, Passage, Sampling, Tool

KEY = "sk-secret-0123456789"
STOP = Completion("stop", 20, 5)
SPEC = ModelSpec("scripted", "told", "Told", context_tokens=1000, output_tokens=200)
Try = Iterable[Item | Exception | threading.Event]


class Told(RemoteModel):
    """Each try is a list: what is yielded, raised or (an event) waited for."""

    def __init__(self, *tries: Try, key: str = KEY, **spec: Any) -> None:
        provider = ProviderSpec("scripted", "Scripted", {}, "", SecretStr(key), is_configured=True)
        super().__init__(provider, replace(SPEC, **spec), Settings(provider_max_retries=3, provider_max_wait_s=5))
        self.tries = list(tries)
        self.requests: list[ChatRequest] = []
        self.open = 0

    def _open(self, request: ChatRequest) -> AbstractContextManager[Iterator[Item]]:
        self.requests.append(request)
        return self._opened(self.tries.pop(0))

    @contextmanager
    def _opened(self, items: Try) -> Iterator[Iterator[Item]]:
        self.open += 1
        try:
            yield self._said(items)
        finally:
            self.open -= 1

    @staticmethod
    def _said(items: Try) -> Generator[Item, None, None]:
        for item in items:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, threading.Event):
                assert item.wait(10)
            else:
                yield item

    def _translate(self, error: Exception) -> BackchannelError | TryAgain | None:
        return ProviderRefused(str(error)) if isinstance(error, LookupError) else None

    @property
    def last(self) -> list[tuple[str, str]]:
        return [(message.role, message.content) for message in self.requests[-1].messages]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.llm.tries._FIRST_PAUSE_S", 0.001)


def said(*texts: str) -> list[Item]:
    return [Delta(text) for text in texts]


CUT = TryAgain("It broke.")


# --- going on


def test_an_answer_goes_on_after_a_cut() -> None:
    model = Told([*said("One", " two"), CUT], [*said(" three"), STOP])
    answer = ask(model, "Count!")
    assert answer.text == "One two three"
    assert model.last == [("user", "Count!"), ("assistant", "One two"), ("user", GO_ON)]
    # 2 tokens of 7 bytes that nobody counted, and the 5 that were told
    assert answer.end == Completion("stop", 20, 2 + 5)


def test_a_stream_that_just_ends_was_cut() -> None:
    assert ask(Told(said("One"), [*said(" two"), STOP])).text == "One two"


def test_a_cut_before_the_first_word_asks_the_same_again() -> None:
    model = Told([CUT], [*said("One"), STOP])
    answer = ask(model, "Count!")
    assert (answer.text, answer.end) == ("One", STOP)
    assert model.last == [("user", "Count!")]


def test_a_model_that_takes_a_beginning_is_given_it() -> None:
    model = Told([*said("One", " two\n\n"), CUT], [*said("\n", "Three"), STOP])
    model.can_prefill = True
    assert ask(model, "Count!").text == "One two\n\nThree"
    assert model.last == [("user", "Count!"), ("assistant", "One two")]


def test_an_earlier_attempts_answer_is_gone_on_with() -> None:
    model = Told([*said(" three"), STOP])
    answer = ask(model, "Count!", resume=("One two", ()))
    assert answer.text == " three"
    assert model.last[1:] == [("assistant", "One two"), ("user", GO_ON)]
    assert answer.end.completion_tokens == 2 + 5


def test_what_was_said_counts_against_what_may_be_said() -> None:
    model = Told([*said("x" * 80), CUT], [*said("y"), STOP])
    ask(model, max_tokens=50)
    assert [request.sampling.max_tokens for request in model.requests] == [50, 30]


def test_nothing_is_asked_for_where_all_was_said() -> None:
    assert ask(Told([*said("x" * 200), CUT]), max_tokens=50).end.finish_reason == "length"
    assert ask(Told(), resume=("Over. END", ()), stop=("END",)).end.finish_reason == "stop"


def test_a_document_in_a_schema_is_written_anew_and_shown_whole() -> None:
    model = Told([*said('{"a"', ": 1"), CUT], [*said('{"b": ', "2}"), STOP], abilities=frozenset({"json_schema"}))
    answer = ask(model, response_format={"type": "json_object"})
    assert answer.text == '{"b": 2}'
    assert model.last == [("user", "Hello there")]
    assert answer.end.completion_tokens == 2 + 5  # the first was paid for too


# --- retries


def test_it_is_tried_as_often_as_is_set() -> None:
    model = Told(*[[CUT]] * 9)
    with pytest.raises(ProviderUnavailable, match=r"Scripted cannot answer now: It broke\.") as raised:
        ask(model)
    assert len(model.requests) == 4
    assert (raised.value.retryable, raised.value.headers) == (True, {})


def test_a_provider_that_cuts_after_every_word_is_not_paid_for_ever() -> None:
    model = Told(*[[*said(f"{word} "), CUT] for word in "abcdefghi"])
    with pytest.raises(ProviderUnavailable):
        ask(model)
    assert len(model.requests) == 4


def test_failures_count_anew_after_a_good_part_of_the_answer() -> None:
    parts = [[*said(letter * 300), CUT] for letter in "abcdef"]
    answer = ask(Told(*parts, [STOP]), max_tokens=900)
    assert answer.text == "".join(letter * 300 for letter in "abcdef")


def test_a_documents_failures_never_count_anew() -> None:
    model = Told(*[[*said("x" * 300), CUT]] * 9, abilities=frozenset({"json_schema"}))
    with pytest.raises(ProviderUnavailable):
        ask(model, response_format={"type": "json_object"}, max_tokens=900)
    assert len(model.requests) == 4


def test_a_pause_that_is_asked_for_is_kept() -> None:
    model = Told([TryAgain("Busy.", 0.2)], [STOP])
    started = time.monotonic()
    ask(model)
    assert time.monotonic() - started >= 0.2


def test_a_long_pause_is_left_to_the_queue() -> None:
    with pytest.raises(ProviderUnavailable) as raised:
        ask(Told([TryAgain("Busy.", 61.2)]))
    assert raised.value.headers == {"Retry-After": "62"}


def test_a_pause_is_left_when_cancelled() -> None:
    model = Told([*said("One"), TryAgain("Busy.", 4)])
    started = time.monotonic()
    answer = ask(model, cancelled=lambda: bool(model.requests) and not model.open)
    assert answer.end.finish_reason == "cancelled"
    assert time.monotonic() - started < 2


def test_part_of_an_answer_that_cannot_be_read_is_asked_for_again() -> None:
    bad = json.JSONDecodeError("no", "{", 0)
    assert ask(Told([*said("One"), bad], [*said(" two"), STOP])).text == "One two"


@pytest.mark.parametrize(
    ("error", "ours"), [(KeyError("never"), ProviderRefused), (ZeroDivisionError(), ZeroDivisionError)]
)
def test_what_does_not_pass_is_raised(error: Exception, ours: type[Exception]) -> None:
    model = Told([*said("One"), error])
    with pytest.raises(ours):
        ask(model)
    assert len(model.requests) == 1


def test_an_error_without_words_is_not_waited_for() -> None:
    class Speechless(Told):
        def _translate(self, error: Exception) -> BackchannelError | TryAgain | None:
            raise AssertionError("no words")

    with pytest.raises(AssertionError, match="no words"):
        ask(Speechless([ZeroDivisionError()]))


# --- leaving


def silent(*before: str) -> tuple[Told, threading.Event]:
    event = threading.Event()
    return Told([*said(*before), event, *said("late"), STOP]), event


def test_a_silent_stream_can_be_cancelled() -> None:
    model, event = silent("One")
    items = model.stream(ChatRequest((ChatMessage("user", "Count!"),)), cancelled := Flag())
    assert next(items) == Delta("One")
    cancelled.set()
    started = time.monotonic()
    assert next(items) == Completion("cancelled", 2, 1)
    assert time.monotonic() - started < 1
    event.set()
    wait_until(lambda: model.open == 0, what="the stream to be left")


class Flag(threading.Event):
    def __call__(self) -> bool:
        return self.is_set()


def test_who_goes_away_leaves_the_stream() -> None:
    model, event = silent("One")
    items = model.stream(ChatRequest((ChatMessage("user", "Count!"),)), lambda: False)
    next(items)
    items.close()  # type: ignore[attr-defined]
    event.set()
    wait_until(lambda: model.open == 0, what="the stream to be left")


@pytest.mark.parametrize("before", [(), ("One",)])
def test_a_deadline_ends_a_silence(before: tuple[str, ...]) -> None:
    model, event = silent(*before)
    with pytest.raises(DeadlineExceeded):
        list(model.stream(ChatRequest((ChatMessage("user", "Count!"),), deadline_s=0.15), lambda: False))
    event.set()


def test_a_stream_is_left_after_its_end() -> None:
    model = Told([*said("One"), STOP])
    ask(model)
    wait_until(lambda: model.open == 0, what="the stream to be left")


def test_a_stream_is_left_when_a_stop_string_comes() -> None:
    model, event = silent("One EN", "D two")
    answer = ask(model, stop=("END",))
    assert (answer.text, answer.end.finish_reason) == ("One ", "stop")
    assert answer.end.completion_tokens == 1
    event.set()
    wait_until(lambda: model.open == 0, what="the stream to be left")


def test_cancelled_before_anything_was_asked() -> None:
    model = Told([*said("One"), STOP])
    answer = ask(model, cancelled=lambda: True)
    assert (answer.text, answer.end.finish_reason, model.requests) == ("", "cancelled", [])


def test_left_before_it_was_opened_it_is_not() -> None:
    left, entered = threading.Event(), threading.Event()
    reading: list[threading.Thread] = []

    @contextmanager
    def opened() -> Iterator[Iterator[Item]]:
        entered.set()
        yield iter([STOP])

    def open_late() -> AbstractContextManager[Iterator[Item]]:
        reading.append(threading.current_thread())
        assert left.wait(10)
        return opened()

    with Reader("late", open_late, Told().understood):
        wait_until(lambda: reading, what="the reading thread")
    left.set()
    reading[0].join(10)
    assert not entered.is_set()


# --- before anything is sent


def refused(model: Told, **request: Any) -> str:
    messages = request.pop("messages", (ChatMessage("user", "Hi"),))
    with pytest.raises(Unusable) as raised:
        collect(model, ChatRequest(messages, **request))
    assert model.requests == []
    return raised.value.detail


def test_a_prompt_that_is_too_long_is_not_sent() -> None:
    model = Told()
    with pytest.raises(PromptTooLong, match="about 1008 tokens; the model told reads 1000"):
        ask(model, "x" * 3000)
    assert model.requests == []


def test_tools_and_schemas_are_part_of_the_prompt() -> None:
    tool = Tool("f", "d" * 3000, {"type": "object"})
    assert "tokens" in refused(Told(abilities=frozenset({"tools"})), tools=(tool,))
    schema = {"type": "json_schema", "schema": {"description": "d" * 3000}}
    model = Told(abilities=frozenset({"json_schema"}))
    assert "tokens" in refused(model, sampling=Sampling(response_format=schema))


def test_abilities_are_looked_at() -> None:
    def with_file(kind: str) -> tuple[ChatMessage, ...]:
        return (ChatMessage("user", "Look", attachments=(Attachment(kind, b"x"),)),)

    assert "tools" in refused(Told(), tools=(Tool("f", "", {}),))
    assert "pictures" in refused(Told(), messages=with_file("image/png"))
    assert "PDF" in refused(Told(), messages=with_file("application/pdf"))
    assert "audio/wav" in refused(Told(), messages=with_file("audio/wav"))
    assert "JSON" in refused(Told(), sampling=Sampling(response_format={"type": "json_object"}))
    assert "json_object" in refused(Told(), sampling=Sampling(response_format={"type": "xml"}))
    assert "a schema" in refused(Told(), sampling=Sampling(response_format={"type": "json_schema"}))
    assert "grammars" in refused(Told(), sampling=Sampling(response_format={"type": "grammar", "grammar": "x"}))


def test_a_schema_without_a_bottom() -> None:
    schema: dict[str, Any] = {}
    for _ in range(100_000):
        schema = {"items": schema}
    form = {"type": "json_schema", "schema": schema}
    assert "deeply" in refused(Told(abilities=frozenset({"json_schema"})), sampling=Sampling(response_format=form))


def test_no_more_is_asked_for_than_the_model_and_its_window_give() -> None:
    model = Told([STOP], [STOP])
    ask(model, "x", max_tokens=10_000)
    ask(model, "x" * 2700, max_tokens=10_000)
    assert [request.sampling.max_tokens for request in model.requests] == [200, 1000 - 900 - 8]


def test_thinking_has_room_beside_the_answer_and_the_answer_no_more_than_its_own() -> None:
    model = Told([*said(*["word " * 4] * 20), STOP])
    model.thinking_tokens = 100
    answer = ask(model, max_tokens=50)
    assert model.requests[0].sampling.max_tokens == 150
    assert answer.end.finish_reason == "length"
    assert len(answer.text) == 20 * 11  # 55 tokens: the first delta that is over


def test_passages_are_quoted() -> None:
    model = Told([STOP])
    passage = Passage("It is 42.", "c", "Old talk", None, 0.9)
    collect(model, ChatRequest((ChatMessage("user", "What?"),), passages=(passage,)))
    assert "It is 42." in model.last[0][1]


# --- keys


def test_a_key_that_no_header_can_carry_is_told() -> None:
    model = Told(key="sk-\N{BULLET}")
    with pytest.raises(ProviderRefused, match=r"Scripted did not accept the key \(SCRIPTED_API_KEY\)\."):
        ask(model)
    assert model.requests == []


@pytest.mark.parametrize(
    "error", [LookupError(f"wrong: {KEY}!"), TryAgain(f"wrong: {KEY}!"), ProviderRefused(f"wrong: {KEY}!")]
)
def test_no_error_and_no_log_line_has_the_key(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(BackchannelError) as raised:
        ask(Told(*[[error]] * 9))
    assert "wrong: …!" in raised.value.detail
    assert KEY not in f"{raised.value!r} {raised.value.args} {caplog.text} {Told()!r} {vars(Told())}"


def test_a_long_answer_is_read_quickly() -> None:
    model = Told([*said(*["word "] * 20_000), STOP], context_tokens=10**6, output_tokens=10**6)
    started = time.monotonic()
    assert len(ask(model, max_tokens=10**6, stop=("END",)).text) == 100_000
    assert time.monotonic() - started < 5
