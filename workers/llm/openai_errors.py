"""What OpenAI, and servers that speak like it, mean by their errors."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any

import openai

from config.catalogue import ProviderSpec
from config.errors import BackchannelError, PromptTooLong, ProviderRefused
from workers.llm.openai_responses import Failed
from workers.llm.trouble import TryAgain, asked_pause_s, key_refused, sentence

_PASSING_STATUS = (408, 409, 425, 429)
_PASSING = (
    "server_error",
    "rate_limit_exceeded",
    "vector_store_timeout",
    "overloaded",
    "timeout",
    "service_unavailable",
)
_SPENT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_WRONG_KEY = re.compile(r"(?i)(?:incorrect|invalid|missing|no) api[ _-]?key")
# Each server has its own words for it, and few give it a code.
_TOO_LONG = re.compile(
    r"(?i)context[ _](?:length|window|size)|maximum prompt length|prompt is too long|too many (?:input )?tokens"
)
# In the middle of a stream there is no status; these codes tell what is wrong with the request, others may pass.
_FINAL = re.compile(r"invalid|context|policy|image|unsupported|mismatch|content_filter")
_NOT_TAKEN = re.compile(
    r"(?i)unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|extra|invalid"
)


def in_words(error: Exception, provider: ProviderSpec, model: str) -> BackchannelError | TryAgain | None:
    """None for an error that is not the provider's. `model`: what the provider was asked for."""
    match error:
        case openai.APITimeoutError():
            return TryAgain("It did not answer in time.")
        case openai.APIConnectionError():
            return TryAgain("The connection failed.")
        case openai.APIStatusError():
            trouble = _meant(f"{error.code or ''} {error.type or ''}", told(error), error.status_code, provider, model)
            if isinstance(trouble, TryAgain):
                trouble.after_s = asked_pause_s(error.response.headers)
            return trouble
        case openai.APIError():  # in the middle of a stream
            status = int(error.code) if error.code and error.code.isdecimal() else None
            return _meant(f"{error.code or ''} {error.type or ''}", told(error), status, provider, model)
        case Failed():
            return _meant(error.code, error.message, None, provider, model)
    return None


def _meant(
    code: str, words: str, status: int | None, provider: ProviderSpec, model: str
) -> BackchannelError | TryAgain:
    refused = ProviderRefused(f"{provider.label} refused the request: {sentence(words)}")
    is_too_long = "context_length" in code or "exceed_context" in code or bool(_TOO_LONG.search(words))
    if any(one in code for one in _SPENT):
        return refused
    if status == 401 or "invalid_api_key" in code or (status in (400, 403) and _WRONG_KEY.search(words)):
        return key_refused(provider)
    if status == 403:
        return ProviderRefused(f"{key_refused(provider).detail.rstrip('.')} for this: {sentence(words)}")
    if status == 404:
        return ProviderRefused(f"{provider.label} has no model {model}: {sentence(words)}")
    is_final = status is None and bool(_FINAL.search(code))
    may_pass = status is None or status in _PASSING_STATUS or status >= 500 or any(one in code for one in _PASSING)
    if may_pass and not is_final:
        return TryAgain(sentence(words))
    return PromptTooLong(f"The prompt is too long for the model: {sentence(words)}") if is_too_long else refused


def told(error: openai.APIError) -> str:
    """The provider's own sentence; the SDK's message holds the whole body."""
    status = getattr(error, "status_code", None)
    told_nothing = "It answered with an error." if status is None else f"It answered with status {status}."
    return _words(error.body) or told_nothing


def _words(body: Any) -> str:
    if isinstance(body, str):
        return "" if body.lstrip().startswith("<") else body.strip()  # a proxy's page
    if not isinstance(body, dict):
        return ""
    return next((words for key in ("message", "detail", "error") if (words := _words(body.get(key)))), "")


def field_not_taken(error: openai.APIStatusError, fields: Set[str]) -> str | None:
    """Which of `fields` the server does not take, if that is what it says."""
    words = told(error)
    if not _NOT_TAKEN.search(words):
        return None
    if error.param:
        name = re.split(r"[.\[]", error.param)[0]
        return name if name in fields else None
    named = (name for name in sorted(fields) if re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", words))
    return next(named, None)
