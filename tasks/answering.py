"""Writing an answer into a job's log: the wait for the model, the deadline, room made in a context that is full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from config.errors import DeadlineExceeded
from config.queues import Kind
from storage.tables import utcnow
from tasks.run import JobRun
from workers.llm.prompt import drop_oldest_half
from workers.ports import ChatRequest, Completion, Delta, LanguageModel, TokenLogprob, WorkClass

# Room left for passages and template around the history, in tokens.
PROMPT_MARGIN = 64
# Up to this priority a client says "whenever": such a chat gives way to all others in the model.
WHENEVER = 1
# JSON has no infinity; no token that a model would draw is this unlikely.
_LEAST_LOGPROB = -9999.0


def chat_class(run: JobRun) -> WorkClass:
    if run.job.kind == Kind.VOICE_REPLY.value:
        return "voice"
    return "batch" if run.job.priority <= WHENEVER else "chat"


def time_left_s(run: JobRun) -> float | None:
    """Of the input's `deadline_s`, which counts from the job's submission; None without one. Raises DeadlineExceeded
    when nothing is left."""
    deadline_s: float | None = run.input.get("deadline_s")
    if deadline_s is None:
        return None
    left = deadline_s - (utcnow() - run.job.created_at).total_seconds()
    if left <= 0:
        raise DeadlineExceeded("The answer was not complete at its deadline.")
    return left


def waiting(run: JobRun) -> Callable[[str, float | None], None]:
    """What `registry.language_model` calls while the model is not there: tells the listeners, a tenth at a time.
    Raises what ends the job."""
    told: tuple[str, int | None] | None = None

    def wait(reason: str, progress: float | None) -> None:
        nonlocal told
        run.check()
        time_left_s(run)
        now = (reason, None if progress is None else int(progress * 10))
        if now != told:
            told = now
            fields: dict[str, Any] = {} if progress is None else {"progress": round(progress, 2)}
            run.emit("status", status=reason, **fields)

    return wait


def write_answer(run: JobRun, model: LanguageModel, request: ChatRequest) -> Completion:
    """Streams the answer into the log. Where it fills the context, the oldest half of the history is dropped, told, and
    the answer goes on behind what it said; with nothing left to drop it ends with "length"."""
    while True:
        completion = _stream(run, model, request)
        messages, dropped = drop_oldest_half(request.messages)
        if not dropped or not _filled(model, request, completion):
            return completion
        run.emit("status", status="context_shifted", dropped_messages=dropped)
        request = replace(
            request,
            messages=messages,
            resume_text=run.text,
            resume_tokens=tuple(run.resume_tokens),
            deadline_s=time_left_s(run),
        )


def _stream(run: JobRun, model: LanguageModel, request: ChatRequest) -> Completion:
    completion: Completion | None = None
    for item in model.stream(request, run.should_stop):
        if isinstance(item, Delta):
            run.content(item.text, item.tokens, [_logprob_json(told) for told in item.logprobs])
        else:
            completion = item
        run.check()
    assert completion is not None, "a stream ends with its completion"
    return completion


def _filled(model: LanguageModel, request: ChatRequest, completion: Completion) -> bool:
    """Whether it was the context that ended the answer, and not its own or a provider's limit."""
    return (
        completion.finish_reason == "length"
        and completion.completion_tokens < request.sampling.max_tokens
        and completion.prompt_tokens + completion.completion_tokens >= model.context_tokens - PROMPT_MARGIN
    )


def _logprob_json(told: TokenLogprob) -> dict[str, Any]:
    tokens = [(told.token, told.logprob), *told.top]
    own, *top = (
        _token_json(token, spelling, logprob)
        for (token, logprob), spelling in zip_longest(tokens, told.spellings[: len(tokens)], fillvalue=b"")
    )
    return {**own, "top": top}


def _token_json(token: int | str, spelling: bytes, logprob: float) -> dict[str, Any]:
    """`bytes` where the text does not spell them: a token may end inside a character."""
    told: dict[str, Any] = {"token": token, "logprob": max(_LEAST_LOGPROB, round(logprob, 6))}
    if isinstance(token, int):
        text = spelling.decode("utf-8", "replace")
        told |= {"token": text, "id": token}
        if text.encode() != spelling:
            told["bytes"] = list(spelling)
    return told
