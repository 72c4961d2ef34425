"""An answer that was given before to the very same request, told again without asking the model."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

import orjson

from config import catalogue
from config.catalogue import EXTRACTIVE, LOCAL
from config.settings import get_settings
from storage import answer_cache
from storage.answer_cache import Ticket
from tasks.run import JobRun
from workers.ports import ChatRequest, Completion, LanguageModel

# What of a request does not change its answer. The owner is part of where it is kept.
_OF_THE_MOMENT = ("owner", "job_id", "work_class", "deadline_s", "resume_text", "resume_tokens")


def say_again(run: JobRun, model: LanguageModel, request: ChatRequest) -> tuple[Completion | None, Ticket | None]:
    """The end of an answer that was told from the cache, or the ticket to put there what the model says. Neither for a
    request that draws at random, unless it asks for it (`cache`), and for one that an earlier attempt began."""
    wanted = run.input.get("cache")
    fitting = request.sampling.temperature == 0 if wanted is None else wanted
    if not fitting or run.text or request.sampling.logprobs is not None or model.provider == EXTRACTIVE:
        return None, None
    known, ticket = answer_cache.find(run.owner_id, key_of(model, request))
    if known is None:
        return None, ticket
    run.emit("status", status="answering_from_cache", model=model.name)
    run.content(known["content"])
    return Completion(known["finish_reason"], known["prompt_tokens"], known["completion_tokens"]), None


def worth_keeping(text: str, completion: Completion) -> dict[str, Any] | None:
    """What the cache holds of an answer; None of one that broke off."""
    if not text or completion.finish_reason not in ("stop", "length"):
        return None
    return {
        "content": text,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
    }


def key_of(model: LanguageModel, request: ChatRequest) -> str:
    asked = {name: value for name, value in asdict(request).items() if name not in _OF_THE_MOMENT}
    for passage in asked["passages"]:
        del passage["score"]  # no model sees it
    parts = [model.provider, model.name, model.context_tokens, _file(model), asked]
    return hashlib.sha256(orjson.dumps(parts, default=_digest, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _file(model: LanguageModel) -> list[tuple[str, int, int]]:
    """Another file may come by the same name."""
    path = catalogue.local_models(get_settings()).get(model.name) if model.provider == LOCAL else None
    files = catalogue.parts_of(path) if path is not None else []
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _digest(value: object) -> str:
    assert isinstance(value, bytes)
    return hashlib.sha256(value).hexdigest()
