"""A conversation's project in Linear."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Response, get, post
from litestar.params import FromPath

from api.intake import AnyRequest, builder, submit
from api.schemas import ProjectIn, ProjectOptions
from api.threads import reading as in_thread
from api.waiting import preference, respond
from config.queues import Kind
from config.settings import get_settings
from storage import conversations, projects
from storage.database import Session, reading
from storage.tables import Job

Json = dict[str, Any]


class ProjectController(Controller):
    path = "/api/conversations/{conversation_id:str}/project"
    tags = ["project drafts"]  # noqa: RUF012

    @get("/", summary="The project that was made of a conversation")
    async def show(self, request: AnyRequest, conversation_id: FromPath[str]) -> Json:
        return await in_thread(_show, request.user.id, conversation_id)

    @post("/", status_code=200, summary="Make a project in Linear of the draft, and lock the conversation")
    async def make(
        self, request: AnyRequest, conversation_id: FromPath[str], data: ProjectOptions | None = None
    ) -> Response[Json]:
        given = data or ProjectOptions()
        body = ProjectIn.model_construct(conversation_id=conversation_id, **given.model_dump())
        job = await submit(
            request, Kind.PROJECT, builder(Kind.PROJECT, body, request.user.id), given.model_dump(mode="json")
        )
        return await respond(request, job, preference(request, default_wait_s=get_settings().wait_max_s), _made)


def _show(owner_id: str, conversation_id: str) -> Json:
    with reading() as session:
        conversations.get(session, conversation_id, owner_id)
        return projects.as_json(projects.get(session, conversation_id))


def _made(session: Session, job: Job) -> Json:
    return projects.as_json(projects.get(session, job.input["conversation_id"]))
