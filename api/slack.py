"""POST /api/conversations/import-slack: a service has a share link imported for one of the people here."""

from __future__ import annotations

from typing import Any

from litestar import Response, post
from litestar.exceptions import HTTPException
from pydantic import Field

from api.callers import Caller
from api.errors import on_http, on_known
from api.intake import AnyRequest, builder, submit
from api.linked_imports import CODES, made_by
from api.schemas import Body, ImportIn, parse_body
from api.threads import reading as in_thread
from api.waiting import Preference, respond
from config.errors import BackchannelError, Forbidden, FormatChanged, NotFound
from config.queues import Kind
from config.settings import get_settings
from storage import users
from storage.database import Session, reading
from storage.tables import Job

Json = dict[str, Any]
# What is wrong with the link or the person, and not with the caller or with this server.
_BAD_REQUEST = (400, 404, 409, 422, 502)


class SlackIn(Body):
    url: str = Field(min_length=1, max_length=2000)
    user_id: int | str = Field(description="Whose conversation it becomes: an id, a user name or an e-mail address")


def _on_known(request: AnyRequest, error: BackchannelError) -> Response[Json]:
    return _as_slack(on_known(request, error))


def _on_http(request: AnyRequest, error: HTTPException) -> Response[Json]:
    return _as_slack(on_http(request, error))


def _as_slack(answer: Response[Json]) -> Response[Json]:
    """A problem that also has the seed's `error`, and 400 for all that the link or the person is to blame for."""
    code = str(answer.content["code"])
    answer.content["error"] = CODES.get(code, code.upper())
    if answer.status_code in _BAD_REQUEST:
        answer.status_code = answer.content["status"] = 400
    return answer


@post(
    "/api/conversations/import-slack",
    status_code=200,
    tags=["imports"],
    summary="Import a share link for somebody, as a service",
    exception_handlers={BackchannelError: _on_known, HTTPException: _on_http},
)
async def import_from_slack(request: AnyRequest, data: SlackIn) -> Response[Any]:
    if request.user.role not in ("service", "admin"):
        raise Forbidden("Only a service may do that: it sends its key as X-API-Key.")
    body = parse_body(ImportIn, {"url": data.url})
    request.scope["user"] = await in_thread(_person, str(data.user_id))  # from here on it is their import
    build = builder(Kind.IMPORT, body, request.user.id)
    job = await submit(request, Kind.IMPORT, build, data.model_dump(mode="json"))
    return await respond(request, job, Preference(get_settings().wait_max_s), _imported)


def _person(who: str) -> Caller:
    """Raises NotFound."""
    with reading() as session:
        user = users.find(session, who)
    if user is None or not user.is_active:
        raise NotFound("There is nobody here with that user_id.")
    return Caller(user.id, "user")


def _imported(_session: Session, job: Job) -> Json:
    conversation_id, reason = made_by(job.id)
    if conversation_id is None:
        raise FormatChanged(reason)
    return {"id": conversation_id, "message": "The conversation was imported."}
