"""How a request becomes a job: validated, written with its domain rows in one transaction, sent after commit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from litestar import Request

from api.auth import Caller
from api.draft_jobs import about_draft
from api.schemas import Body, ChatIn, ChatOptions, DraftChatIn, DraftIn, ImportIn, ProjectIn, SummarizeIn
from api.threads import writing
from config.errors import BadRequest, Conflict
from config.queues import KINDS, Kind
from storage import blobs, conversations, jobs, questions, queue, usage, users
from storage.database import Session, is_duplicate, transaction
from storage.filters import OWN_SOURCE
from storage.jobs import NewJob
from storage.tables import Job

AnyRequest = Request[Caller, Any, Any]
Builder = Callable[[Session], NewJob]

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def idempotency_key(request: AnyRequest) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise BadRequest("Idempotency-Key must be 1 to 255 visible ASCII characters.")
    return key


async def submit(request: AnyRequest, kind: Kind, build: Builder, hashed: Any, *, keyed: bool = True) -> Job:
    """Accept a job. `hashed` is what makes two requests the same request under one Idempotency-Key; `keyed` False for
    a further job of the same request."""
    key = idempotency_key(request) if keyed else None
    request_hash = jobs.hash_request(request.method, request.scope["path"], hashed) if key else None
    return await writing(_accept, request.user.id, kind, build, key, request_hash)


def _accept(owner_id: str, kind: Kind, build: Builder, key: str | None, request_hash: str | None) -> Job:
    try:
        return _accept_once(owner_id, kind, build, key, request_hash)
    except Exception as error:
        if key is None or not is_duplicate(error):
            raise
        # The same key arrived twice at the same moment and the other was first: now it is found.
        return _accept_once(owner_id, kind, build, key, request_hash)


def _accept_once(owner_id: str, kind: Kind, build: Builder, key: str | None, request_hash: str | None) -> Job:
    with transaction() as session:
        if key is not None and request_hash is not None:
            earlier = jobs.find_idempotent(session, owner_id, key, request_hash)
            if earlier is not None:
                return earlier
        jobs.check_room(session, KINDS[kind].queue, owner_id)
        if kind in usage.COSTING:
            usage.check(session, owner_id)
        job = jobs.add(session, replace(build(session), idempotency_key=key, request_hash=request_hash))
        queue.send_after_commit(session, [job])
        return job


def builder(kind: Kind, body: Body, owner_id: str, **common: Any) -> Builder:
    """What a job of this kind writes besides its own row."""
    if isinstance(body, ChatIn):
        return chat_builder(owner_id, body.message, body, **common)
    if isinstance(body, ImportIn):
        return import_builder(owner_id, body, **common)
    if isinstance(body, SummarizeIn):
        return summary_builder(owner_id, body, **common)
    if isinstance(body, DraftIn | DraftChatIn | ProjectIn):
        return about_draft(owner_id, body, **common)
    if kind is Kind.PULL:
        return pull_builder(owner_id, body, **common)
    serial_key = f"embed:{owner_id}" if kind is Kind.EMBED else None
    return lambda _session: NewJob(kind, owner_id, body.model_dump(exclude_unset=True), serial_key=serial_key, **common)


def import_builder(owner_id: str, body: ImportIn, **common: Any) -> Builder:
    """Raises NotFound for a blob or a conversation that is not there, Conflict for one that was not imported."""
    if body.blob is not None:
        blobs.path(body.blob)

    def build(session: Session) -> NewJob:
        given = body.model_dump(exclude_unset=True, exclude={"target_conversation_id"})
        if body.target_conversation_id is not None:
            target = conversations.get(session, body.target_conversation_id, owner_id)
            if target.source == OWN_SOURCE:
                raise Conflict("That conversation was not imported, so no import can update it.")
            given["into"] = {"source": target.source, "native_id": target.native_id}
        return NewJob(Kind.IMPORT, owner_id, given, **common)

    return build


def pull_builder(owner_id: str, body: Body, **common: Any) -> Builder:
    """One pull at a time. Refused at once to who may not."""

    def build(session: Session) -> NewJob:
        users.require_admin(session, owner_id, "pull models")
        return NewJob(Kind.PULL, owner_id, body.model_dump(), serial_key="pull", **common)

    return build


def summary_builder(owner_id: str, body: SummarizeIn, **common: Any) -> Builder:
    """One summary of a conversation at a time: the second finds the first one's parts."""

    def build(session: Session) -> NewJob:
        conversation_id = conversations.get(session, body.conversation_id, owner_id).id
        return NewJob(
            Kind.SUMMARIZE,
            owner_id,
            body.model_dump(),
            serial_key=f"summarize:{conversation_id}",
            conversation_id=conversation_id,
            **common,
        )

    return build


def chat_builder(owner_id: str, message: str, options: ChatOptions, **common: Any) -> Builder:
    """The question's row and the job in one transaction; one conversation's answers are written one after the other."""
    given = options.model_dump(exclude={"session_id", "message"}, exclude_none=True, by_alias=True)

    def build(session: Session) -> NewJob:
        _, job = questions.ask(session, owner_id, message, options.session_id, given)
        return replace(job, **common)

    return build
