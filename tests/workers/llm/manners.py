"""What every provider's adapter must do, whichever protocol it speaks. A test file inherits `Manners` and gives it its
stand-in and its model."""

from __future__ import annotations

import logging
import re
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.errors import BackchannelError, DeadlineExceeded, ProviderRefused, ProviderUnavailable
from tests.standins.server import Reply
from tests.workers.llm.answers import Answer, ask, collect
from workers.llm.remote import RemoteModel
from workers.ports import ChatMessage, ChatRequest, Sampling

HELLO = (ChatMessage("user", "Hello there"),)
# Line ends that are none in JSON, characters of two, three and four bytes, and what a protocol's own lines begin with.
_WILD = st.text(alphabet=st.sampled_from('ab \n\r\t"\\{}é→😀\u0085\u2028\x1cdata: '), max_size=12)

# `forget` makes the fixtures new for each example, and every provider's class is its own executor.
_MEANT = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]


def _wronged(line: bytes) -> list[bytes]:
    """The line with each of its values, one after the other, of another kind."""
    values = list(re.finditer(rb': ("[^"]*"|\d+|\[\]|\{\}|null|true)', line))
    kinds = (b"null", b"[7]", b'{"a": 1}', b"-1.5")
    return [line] + [line[: one.start(1)] + kind + line[one.end(1) :] for one in values for kind in kinds]


class Manners:
    """`server` and `model` are fixtures of the file that inherits this."""

    key = ""

    def test_says_what_the_provider_says(self, server: Any, model: RemoteModel) -> None:
        server.answers(server.says("Good ", "morning", ", 🌍!"))
        answer = ask(model)
        assert (answer.text, answer.end.finish_reason) == ("Good morning, 🌍!", "stop")
        assert answer.end.completion_tokens == 7
        assert not server.problems

    def test_the_next_answer_comes_over_the_same_connection(self, server: Any, model: RemoteModel) -> None:
        for _ in range(3):
            server.answers(server.says("Good ", "morning!"))
            assert ask(model).text == "Good morning!"
        assert (server.connections, len(server.asked)) == (1, 3)

    @settings(max_examples=25, deadline=None, suppress_health_check=_MEANT)
    @given(st.lists(_WILD, max_size=5), st.lists(st.integers(1, 40), min_size=1, max_size=5))
    def test_any_splitting_gives_the_same_text(
        self, server: Any, model: RemoteModel, texts: list[str], sizes: list[int]
    ) -> None:
        server.forget()
        server.answers(Reply(server.says(*texts), sizes=tuple(sizes)))
        assert ask(model).text == "".join(texts)

    def test_a_stop_string_across_pieces_is_not_shown(self, server: Any, model: RemoteModel) -> None:
        server.answers(Reply(server.begins("one E", "N", "D two"), end="silent"))
        answer = ask(model, stop=("END", "\n"))
        assert (answer.text, answer.end.finish_reason) == ("one ", "stop")
        assert server.left.wait(2), "the rest is not paid for"
        assert not server.problems

    @pytest.mark.parametrize("end", ["silent", "mute"])
    def test_cancel_hangs_up_on_a_silent_provider(self, server: Any, model: RemoteModel, end: Any) -> None:
        server.answers(Reply(server.begins("Well"), end=end))
        began = time.monotonic()
        answer = self._request(model, cancelled=server.still.is_set)
        assert answer.end.finish_reason == "cancelled"
        assert time.monotonic() - began < 3
        assert server.left.wait(2), "the connection is closed"

    def test_a_deadline_ends_a_silent_provider(self, server: Any, model: RemoteModel) -> None:
        server.answers(Reply(server.begins("Well"), end="silent"))
        with pytest.raises(DeadlineExceeded):
            self._request(model, deadline_s=0.3)
        assert server.left.wait(2)

    def test_a_cut_answer_goes_on_where_it_stopped(self, server: Any, model: RemoteModel) -> None:
        server.answers(Reply(server.begins("The sky ", "is bl"), end="cut"), server.says("ue today."))
        answer = ask(model)
        assert answer.text == "The sky is blue today."
        assert "is bl" in str(server.asked[1].body), "it is told what it has said"
        assert not server.problems

    def test_an_answer_without_an_end_goes_on(self, server: Any, model: RemoteModel) -> None:
        server.answers(server.begins("The sky is bl"), server.says("ue."))
        assert ask(model).text == "The sky is blue."
        assert not server.problems

    def test_a_broken_piece_is_not_the_end(self, server: Any, model: RemoteModel) -> None:
        server.answers(server.begins("Half") + server.broken + server.says("never read"), server.says(" and half"))
        assert ask(model).text == "Half and half"
        assert not server.problems

    @settings(max_examples=40, deadline=None, suppress_health_check=_MEANT)
    @given(st.data())
    def test_rubbish_is_an_error_of_ours(self, server: Any, model: RemoteModel, data: st.DataObject) -> None:
        """Whole lines of the protocol, broken ones, and values of the wrong kind where others belong."""
        lines = (server.begins("Well") + server.says("so")).splitlines(keepends=True)
        wrong = [b"[]", b"5", b"null", b'"text"', b"{}", b"\xff\xfe", b"[" * 200]
        values = st.sampled_from([*wrong, *(b"data: " + value for value in wrong)]).map(lambda value: value + b"\n\n")
        wronged = st.sampled_from(lines).flatmap(lambda line: st.sampled_from(_wronged(line)))
        body = b"".join(data.draw(st.lists(st.one_of(st.sampled_from(lines), values, wronged), max_size=8)))
        server.forget()
        server.answers(body)
        model.max_retries = 0
        with suppress(BackchannelError):
            ask(model)

    def test_what_an_earlier_attempt_said_is_continued(self, server: Any, model: RemoteModel) -> None:
        server.answers(server.says("three"))
        answer = ask(model, resume=("One, two, ", ()))
        assert answer.text == "three"
        assert not server.problems

    @pytest.mark.parametrize("status", [429, 503])
    def test_waits_as_long_as_it_is_asked_to(self, server: Any, model: RemoteModel, status: int) -> None:
        server.answers(server.refused(status, "Slow down", retry_after="0.4"), server.says("Now."))
        began = time.monotonic()
        assert ask(model).text == "Now."
        assert 0.4 <= time.monotonic() - began < 2

    def test_a_long_pause_is_the_queues_to_wait(self, server: Any, model: RemoteModel) -> None:
        server.answers(server.refused(429, "Slow down", retry_after="3600"))
        with pytest.raises(ProviderUnavailable) as caught:
            ask(model)
        assert caught.value.headers == {"Retry-After": "3600"}
        assert caught.value.retryable

    def test_a_server_that_stays_broken_is_given_up(self, server: Any, model: RemoteModel) -> None:
        server.answers(*[server.refused(500, "Oops", retry_after="0")] * 9)
        with pytest.raises(ProviderUnavailable):
            ask(model)
        assert 2 <= len(server.asked) < 9

    def test_an_unknown_model_is_named(self, server: Any, model: RemoteModel) -> None:
        server.answers(server.refused(404, "model not found"))
        with pytest.raises(ProviderRefused, match="has no model"):
            ask(model)

    def test_an_unknown_refusal_is_quoted(self, server: Any, model: RemoteModel) -> None:
        server.answers(server.refused(400, "Colourless green ideas"))
        with pytest.raises(ProviderRefused, match="Colourless green ideas"):
            ask(model)
        assert len(server.asked) == 1

    def test_a_redirect_is_not_followed(self, server: Any, model: RemoteModel) -> None:
        server.answers(Reply(status=307, headers={"Location": f"{server.url}/elsewhere"}), server.says("no"))
        with pytest.raises(ProviderRefused):
            ask(model)
        assert len(server.asked) == 1

    def test_an_error_page_is_no_answer(self, server: Any, model: RemoteModel) -> None:
        page = Reply(b"<html>Bad gateway</html>", 502, {"Content-Type": "text/html", "Retry-After": "0"})
        server.answers(page, server.says("Here."))
        assert ask(model).text == "Here."

    def test_a_bad_key_is_refused_and_never_shown(
        self, server: Any, stranger: RemoteModel, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        with pytest.raises(ProviderRefused, match="API_KEY") as caught:
            ask(stranger)
        wrong = stranger._provider.key.get_secret_value()
        assert len(server.asked) == 1
        assert wrong in str(server.asked[0].headers)
        for place in (str(caught.value), repr(caught.value), caplog.text, repr(stranger), repr(stranger.__dict__)):
            assert wrong not in place

    def test_the_key_is_in_no_log_and_no_address(
        self, server: Any, model: RemoteModel, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        server.answers(server.refused(503, f"key {self.key} is busy", retry_after="0"), server.says("Yes."))
        assert ask(model).text == "Yes."
        assert self.key not in caplog.text
        assert all(self.key not in f"{asked.path}{asked.query}{asked.body}" for asked in server.asked)

    def _request(self, model: RemoteModel, **more: Any) -> Answer:
        cancelled = more.pop("cancelled", lambda: False)
        return collect(model, ChatRequest(HELLO, sampling=Sampling(max_tokens=40), **more), cancelled)
