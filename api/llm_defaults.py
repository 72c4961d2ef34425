"""/api/llm-defaults: which models there are, and which does a kind of work when nobody names one."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, get, put
from litestar.params import FromPath
from pydantic import Field

from api import models
from api.intake import AnyRequest
from api.schemas import Body, Storable, one_model
from api.threads import reading as in_thread
from api.threads import writing
from api.views import iso
from config import catalogue
from config.errors import NotFound
from storage import llm_defaults, prompts, users
from storage.database import Session, reading, transaction

Json = dict[str, Any]


class DefaultIn(Body):
    llm_model: Annotated[str, Storable] = Field(min_length=1, max_length=200)
    llm_provider: Annotated[str | None, Storable] = Field(default=None, max_length=100)


class LlmDefaultController(Controller):
    path = "/api/llm-defaults"
    tags = ["models"]  # noqa: RUF012

    @get("/providers", summary="The providers and their models, with windows and abilities")
    async def providers(self, request: AnyRequest) -> Json:
        return await in_thread(_providers)

    @get("/{prompt_type:str}", summary="The model that does this kind of work")
    async def show(self, request: AnyRequest, prompt_type: FromPath[str]) -> Json:
        return await in_thread(_show, prompt_type)

    @put("/{prompt_type:str}", summary="Choose the model that does this kind of work, for everybody")
    async def choose(self, request: AnyRequest, prompt_type: FromPath[str], data: DefaultIn) -> Json:
        return await writing(_choose, request.user.id, prompt_type, data)


def _providers() -> Json:
    listed = [
        {
            "id": provider_id,
            "label": told["label"],
            "status": told["status"],
            "configured": told["configured"],
            "default_model": told.get("default"),
            "models": told["available"],
        }
        for provider_id, told in models.known().as_json().items()
    ]
    return {"providers": listed, "total": len(listed)}


def _show(prompt_type: str) -> Json:
    prompts.require_type(prompt_type)
    known = models.known()
    with reading() as session:
        return _default_json(session, known, prompt_type)


def _default_json(session: Session, known: models.Known, prompt_type: str) -> Json:
    """`is_default`: nobody chose one for this kind of work, and it is done by the house's."""
    row = llm_defaults.get(session, prompt_type)
    provider, model = (row.provider, row.model) if row is not None else known.place(known.default_name(session))
    return {
        "prompt_type": prompt_type,
        "llm_provider": provider,
        "llm_model": model,
        "is_default": row is None,
        "updated_by_user_id": row.updated_by if row is not None else None,
        "updated_at": iso(row.updated_at) if row is not None else None,
    }


def _choose(owner_id: str, prompt_type: str, data: DefaultIn) -> Json:
    """Raises NotFound for a model that is not there, Conflict for one whose provider is not set up."""
    prompts.require_type(prompt_type)
    known = models.known()
    name = one_model(None, data.llm_model, data.llm_provider)
    assert name is not None
    with transaction() as session:
        users.require_admin(session, owner_id, "choose the house's models")
        try:
            provider, model = catalogue.split_name(models.require(known, name))
        except NotFound:  # FAITHH's words for it are no sentence
            raise NotFound(f"There is no model {name!r}.") from None
        llm_defaults.choose(session, prompt_type, provider, model, by=owner_id)
        return _default_json(session, known, prompt_type)
