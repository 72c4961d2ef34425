"""/api/llm-prompts: what models are told, for each kind of work. Everybody may read; admins write, for everybody."""

from __future__ import annotations

from typing import Any

from litestar import Controller, delete, get, post
from litestar.params import FromPath
from pydantic import Field, field_validator

from api.intake import AnyRequest
from api.schemas import Body, usable_text
from api.threads import reading as in_thread
from api.threads import writing
from api.views import iso
from config.errors import Conflict
from config.prompts import DEFAULTS
from storage import prompts, users
from storage.database import Session, is_duplicate, reading, transaction
from storage.project_tables import LlmPrompt

Json = dict[str, Any]
# About 5,000 tokens: more would leave small models no room for what they are to work on.
MAX_PROMPT_CHARS = 20_000


class PromptIn(Body):
    system_prompt: str = Field(min_length=1, max_length=MAX_PROMPT_CHARS)

    @field_validator("system_prompt")
    @classmethod
    def _usable(cls, value: str) -> str:
        return usable_text(value)


class PromptController(Controller):
    path = "/api/llm-prompts"
    tags = ["prompts"]  # noqa: RUF012

    @get("/", summary="The prompt of every kind of work")
    async def list(self, request: AnyRequest) -> Json:
        return await in_thread(_list)

    @get("/{prompt_type:str}", summary="The prompt that is active")
    async def show(self, request: AnyRequest, prompt_type: FromPath[str]) -> Json:
        return await in_thread(_show, prompt_type)

    @get("/{prompt_type:str}/default", summary="The prompt that is active while nobody has written another")
    async def default(self, request: AnyRequest, prompt_type: FromPath[str]) -> Json:
        prompts.require_type(prompt_type)
        return _default_json(prompt_type)

    @get("/{prompt_type:str}/versions", summary="Every prompt that was written, newest first")
    async def versions(self, request: AnyRequest, prompt_type: FromPath[str]) -> Json:
        return await in_thread(_versions, prompt_type)

    @post("/{prompt_type:str}", status_code=200, summary="Write a prompt: active from now on")
    async def write(self, request: AnyRequest, prompt_type: FromPath[str], data: PromptIn) -> Json:
        return await writing(_write, request.user.id, prompt_type, data.system_prompt)

    @delete("/{prompt_type:str}", status_code=200, summary="Go back to the default")
    async def revert(self, request: AnyRequest, prompt_type: FromPath[str]) -> Json:
        return await writing(_revert, request.user.id, prompt_type)


def _prompt_json(row: LlmPrompt) -> Json:
    return {
        "prompt_type": row.prompt_type,
        "system_prompt": row.system_prompt,
        "is_default": False,
        "id": row.id,
        "version": row.version,
        "is_active": row.is_active,
        "created_by_user_id": row.created_by_user_id,
        "created_at": iso(row.created_at),
    }


def _default_json(prompt_type: str) -> Json:
    return {"prompt_type": prompt_type, "system_prompt": DEFAULTS[prompt_type], "is_default": True}


def _active_json(session: Session, prompt_type: str) -> Json:
    row = prompts.find(session, prompt_type)
    return _default_json(prompt_type) if row is None else _prompt_json(row)


def _list() -> Json:
    with reading() as session:
        return {"prompts": [_active_json(session, prompt_type) for prompt_type in DEFAULTS]}


def _show(prompt_type: str) -> Json:
    prompts.require_type(prompt_type)
    with reading() as session:
        return _active_json(session, prompt_type)


def _versions(prompt_type: str) -> Json:
    prompts.require_type(prompt_type)
    with reading() as session:
        return {"versions": [_prompt_json(row) for row in prompts.versions(session, prompt_type)]}


def _write(owner_id: str, prompt_type: str, system_prompt: str) -> Json:
    prompts.require_type(prompt_type)
    try:
        with transaction() as session:
            users.require_admin(session, owner_id, "write prompts")
            return _prompt_json(prompts.write(session, prompt_type, system_prompt, owner_id))
    except Exception as error:
        if is_duplicate(error):
            raise Conflict("Somebody else wrote this prompt at the same moment; look at theirs first.") from None
        raise


def _revert(owner_id: str, prompt_type: str) -> Json:
    prompts.require_type(prompt_type)
    with transaction() as session:
        users.require_admin(session, owner_id, "revert prompts")
        prompts.revert(session, prompt_type)
    return _default_json(prompt_type)
