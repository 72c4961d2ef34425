"""Summaries by an external service (metacognition): it is sent what is new, and asked until it has read all of it."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
from pydantic import SecretStr

from config.errors import DeadlineExceeded, ProviderRefused, ProviderUnavailable
from config.settings import Settings
from workers.llm.remote import retry_after_s
from workers.ports import Completion, Delta, SummaryRequest, SummaryStep

NAME = "metacognition"
_LABEL = "The summary service"
# How long a cancel waits at most while nothing comes.
_LOOK_S = 0.2
_FIRST_PAUSE_S = 0.5
_FAILED = frozenset({"failed", "failure", "error"})
_DONE = frozenset({"completed", "complete", "done", "success", "ready"})
_WRONG_INDEX = re.compile(r"Expected index (\d{1,9})\b.{0,80}?\bgot -?\d+", re.IGNORECASE | re.DOTALL)

Cancelled = Callable[[], bool]
Json = dict[str, Any]


class _Left(Exception):
    """Cancelled while waiting."""


class _WrongIndex(Exception):
    def __init__(self, expected: int) -> None:
        super().__init__()
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: between two looks, until it is given up, and of silence in one call; and tries of one call."""

    poll_s: float = 5.0
    give_up_s: float = 6000.0
    timeout_s: float = 30.0
    retries: int = 4


@dataclass(frozen=True, slots=True)
class _Answer:
    summary_id: str
    status: str
    summary: str
    processed: int | None  # messages, from the first

    def is_complete(self, total: int) -> bool:
        read_all = self.status in _DONE if self.processed is None else self.processed >= total
        return read_all and bool(self.summary.strip())


class MetacognitionSummarizer:
    name = provider = NAME

    def __init__(self, url: str, token: SecretStr, pace: Pace | None = None) -> None:
        self._url = f"{url.rstrip('/')}/manage_conversation"
        self._token = token
        self._pace = pace or Pace()

    @classmethod
    def from_settings(cls, settings: Settings) -> MetacognitionSummarizer:
        pace = Pace(
            settings.metacognition_poll_s,
            settings.metacognition_give_up_min * 60,
            settings.metacognition_timeout_s,
            settings.provider_max_retries,
        )
        return cls(settings.metacognition_api_url, settings.metacognition_auth_token, pace)

    def summarize(
        self, request: SummaryRequest, cancelled: Cancelled
    ) -> Generator[SummaryStep | Delta | Completion, None, None]:
        """The place kept between summaries: {summary_id, sent, digest} of the messages that were sent."""
        messages = [{"role": turn.role, "content": turn.content} for turn in request.turns if turn.content.strip()]
        with _Line(self._url, self._token, self._pace, cancelled) as line:
            try:
                answer = self._send(line, *_continued(request.place, messages), messages)
                place = {"summary_id": answer.summary_id, "sent": len(messages), "digest": _digest(messages)}
                while True:
                    done = min(answer.processed or 0, len(messages))
                    yield SummaryStep(done, len(messages), "messages", "external", place=place)
                    if answer.is_complete(len(messages)):
                        break
                    line.wait(self._pace.poll_s)
                    answer = self._send(line, answer.summary_id, len(messages), messages)
            except _Left:
                yield Completion("cancelled", 0, 0)
                return
            except _WrongIndex:
                raise ProviderRefused(f"{_LABEL} lost count of the messages it was sent.") from None
        yield from _told(answer.summary, request.resume_text)

    def _send(self, line: _Line, summary_id: str | None, sent: int, messages: list[Json]) -> _Answer:
        """What it does not have yet, which may be nothing; a wrong guess of where that begins is corrected once."""
        try:
            return line.ask(summary_id, sent, messages[sent:])
        except _WrongIndex as error:
            if error.expected > len(messages):  # it was sent more than there is now: another conversation to it
                return line.ask(None, 0, messages)
            return line.ask(summary_id, error.expected, messages[error.expected :])


def _continued(place: Json | None, messages: list[Json]) -> tuple[str | None, int]:
    """Its id and how many messages it has, if those are still what the conversation begins with."""
    if place is None or place["sent"] > len(messages) or _digest(messages[: place["sent"]]) != place["digest"]:
        return None, 0
    return place["summary_id"], place["sent"]


def _digest(messages: Sequence[Json]) -> str:
    return hashlib.sha256(orjson.dumps(messages)).hexdigest()


def _told(summary: str, said: str) -> Iterator[Delta | Completion]:
    """An earlier attempt may have said it already, or an older one that the new one then follows."""
    rest = summary[len(said) :] if summary.startswith(said) else f"\n\n{summary}"
    if rest:
        yield Delta(rest)
    yield Completion("stop", 0, 0)


class _Line:
    """Calls that can be left: each runs in a thread of its own while this one looks whether it is cancelled."""

    def __init__(self, url: str, token: SecretStr, pace: Pace, cancelled: Cancelled) -> None:
        self._url, self._pace, self._cancelled = url, pace, cancelled
        self._until = time.monotonic() + pace.give_up_s
        secret = token.get_secret_value()
        self._client = httpx.Client(
            headers={"authorization": f"Bearer {secret}"} if secret else {}, timeout=pace.timeout_s, trust_env=False
        )
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=NAME)

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def ask(self, summary_id: str | None, first: int, messages: Sequence[Json]) -> _Answer:
        """Raises _Left, _WrongIndex, ProviderUnavailable, ProviderRefused, DeadlineExceeded."""
        body = {"summary_id": summary_id, "index_of_first_new_message": first, "new_messages": list(messages)}
        for failures in range(self._pace.retries + 1):
            try:
                return self._once(body)
            except ProviderUnavailable as error:
                asked = error.headers.get("Retry-After")
                pause = float(asked) if asked else _FIRST_PAUSE_S * 2**failures
                if failures == self._pace.retries or pause > self._pace.timeout_s:
                    raise
                self.wait(pause)
        raise AssertionError("the last try raises")

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, _LOOK_S))
        self._check()

    def _check(self) -> None:
        if self._cancelled():
            raise _Left
        if time.monotonic() > self._until:
            raise DeadlineExceeded(f"{_LABEL} did not finish in time; what it has read is kept.")

    def _once(self, body: Json) -> _Answer:
        self._check()
        call = self._pool.submit(self._client.post, self._url, json=body)
        while not call.done():
            wait([call], timeout=_LOOK_S)
            self._check()
        try:
            return _read(call.result())
        except httpx.HTTPError as error:
            raise ProviderUnavailable(f"{_LABEL} did not answer ({type(error).__name__}).") from error


def _read(response: httpx.Response) -> _Answer:
    if response.is_success:
        return _parsed(response)
    status = response.status_code
    if status in (401, 403):
        raise ProviderRefused(f"{_LABEL} does not accept METACOGNITION_AUTH_TOKEN.")
    refused = _refusal(response, f"answered {status}")
    if status in (408, 425, 429) or (status >= 500 and isinstance(refused, ProviderRefused)):
        after = retry_after_s(response.headers.get("retry-after"))
        headers = {"Retry-After": str(math.ceil(after))} if after is not None else None
        raise ProviderUnavailable(f"{_LABEL} answered {status}.", headers=headers)
    raise refused


def _refusal(response: httpx.Response, what: str) -> _WrongIndex | ProviderRefused:
    wrong = _WRONG_INDEX.search(response.text[:2000])
    return _WrongIndex(int(wrong.group(1))) if wrong else ProviderRefused(f"{_LABEL} {what}.")


def _parsed(response: httpx.Response) -> _Answer:
    try:
        body = orjson.loads(response.content)
        status = str(body.get("status", "")).casefold()
        if status in _FAILED:
            raise _refusal(response, "could not summarise this conversation")
        summary, index = body.get("latest_summary"), body.get("latest_processed_message_idx")
        return _Answer(
            str(body["summary_id"]),
            status,
            summary if isinstance(summary, str) else "",
            None if index is None else int(index) + 1,
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _refusal(response, "answered something that is no summary") from None
