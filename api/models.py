"""/api/models as FAITHH has it: which models there are, and the one that answers next; /admin/model/info."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import redis
from litestar import Controller, get, post
from pydantic import Field

from api.intake import AnyRequest
from api.schemas import Body, Storable
from api.threads import reading as in_thread
from api.threads import writing
from config import catalogue, voice_models
from config.catalogue import EXTRACTIVE, LOCAL, LOCAL_ABILITIES, ModelSpec, ProviderSpec
from config.errors import Conflict, Forbidden, NotFound
from config.settings import Settings, get_settings
from storage import jobs, llm_defaults, presence, users
from storage.database import Session, reading, transaction
from storage.presence import WorkerPresence

Json = dict[str, Any]


class SwitchIn(Body):
    model_id: Annotated[str | None, Storable] = Field(
        default=None, max_length=200, description="A model's id, `extractive`, or nothing for the house's default"
    )


class ModelController(Controller):
    tags = ["models"]  # noqa: RUF012

    @get("/api/models", summary="The models there are, by provider")
    async def list(self, request: AnyRequest) -> Json:
        return await in_thread(_list, request.user.id)

    @post("/api/models/switch", status_code=200, summary="Choose the model of your next messages")
    async def switch(self, request: AnyRequest, data: SwitchIn) -> Json:
        return await writing(_switch, request.user.id, data.model_id)

    @get("/admin/model/info", summary="How the local model is set up, and what it does")
    async def info(self, request: AnyRequest) -> Json:
        if request.user.role != "admin":
            raise Forbidden("Only an admin may see that.")
        return await in_thread(_info)


class Known:
    """The models as settings, disk and the workers' last words tell of them. Nobody else is asked."""

    def __init__(self, settings: Settings, workers: list[WorkerPresence]) -> None:
        self.settings = settings
        speaking = [worker for worker in workers if "chat" in worker.queues and worker.state != "stopping"]
        self.is_served = bool(speaking)
        self.language: Json = {}  # the model that answers who names none: name, state, progress, detail
        self.resident: dict[str, Json] = {}
        self.servers: Json = {}
        self.engine: Json = {}
        for worker in speaking:
            self.language = worker.models.get("language") or self.language
            self.resident |= {model["name"]: model for model in worker.models.get("resident") or ()}
            self.servers |= worker.providers
            self.engine = worker.engine or self.engine
        if self.language and self.language.get("provider", LOCAL) == LOCAL:
            self.resident.setdefault(self.language["name"], self.language)

    def default_name(self, session: Session) -> str:
        """The model that answers who chose none."""
        row = llm_defaults.get(session, llm_defaults.CHAT)
        if row is not None:
            return catalogue.full_name(row.provider, row.model)
        if self.language:
            return str(self.language["name"])
        return catalogue.first_name(self.settings)

    def place(self, name: str) -> tuple[str, str]:
        """The provider and the id of the model that goes by this name."""
        spec = catalogue.identify(self.settings, name, self.served())
        return (spec.provider, spec.id) if spec is not None else catalogue.split_name(name)

    def served(self) -> dict[str, list[str]]:
        """Provider → ids of the models that its server told of."""
        return {name: [model["id"] for model in told.get("models", ())] for name, told in self.servers.items()}

    # --- listing

    def as_json(self) -> Json:
        providers = catalogue.providers(self.settings)
        remote = {one.id: self._remote(one) for one in (providers["gemini"], providers["ollama"])}
        remote |= {one.id: self._remote(one) for one in providers.values() if one.id not in remote}
        return {**remote, LOCAL: self._local(), EXTRACTIVE: self._extractive()}

    def _remote(self, provider: ProviderSpec) -> Json:
        told = self.servers.get(provider.id, {})
        if provider.models_from_server:
            status = "online" if provider.is_configured and told.get("status") == "online" else "offline"
            models = [self._told(provider, model) for model in told.get("models", ())]
        else:
            status = "online" if provider.is_configured and told.get("status") != "offline" else "offline"
            models = list(provider.models.values())
        listed: Json = {
            "available": [_model_json(model, status) for model in models],
            "status": status,
            "label": provider.label,
            "configured": provider.is_configured,
        }
        if provider.default:
            listed["default"] = provider.default
        if provider.is_configured and told.get("detail"):
            listed["detail"] = told["detail"]
        return listed

    def _told(self, provider: ProviderSpec, told: Json) -> ModelSpec:
        spec = catalogue.server_model(provider, told["id"])
        return ModelSpec(
            provider.id,
            spec.id,
            told.get("name") or spec.name,
            context_tokens=told.get("context_tokens") or spec.context_tokens,
            abilities=spec.abilities,
        )

    def _local(self) -> Json:
        models = [self.local_json(name, path) for name, path in catalogue.local_models(self.settings).items()]
        statuses = [model["status"] for model in models]
        status = next((word for word in ("online", "loading") if word in statuses), "offline")
        return {"available": models, "status": status, "label": "This machine", "configured": bool(models)}

    def local_json(self, name: str, path: Path) -> Json:
        """`state` is the worker's word; `status` whether a message to it would be answered."""
        files = catalogue.parts_of(path)
        now = self.resident.get(name, {})
        state = now.get("state", "not_loaded") if files else "missing"
        status = "loading" if state == "loading" else "offline"
        if state in ("ready", "not_loaded", "leaving") and self.is_served:
            status = "online"
        told: Json = {
            "id": name,
            "name": name,
            "status": status,
            "context_tokens": now.get("context_tokens"),
            "abilities": sorted(LOCAL_ABILITIES),
            "state": state,
            "bytes": sum(file.stat().st_size for file in files),
            "repo": catalogue.origin(path).get("repo"),
        }
        return told | {word: now[word] for word in ("progress", "detail") if now.get(word) is not None}

    def _extractive(self) -> Json:
        model = ModelSpec(EXTRACTIVE, EXTRACTIVE, "Quotations, without a language model")
        status = "online" if self.is_served else "offline"
        listed = _model_json(model, status) | {"context_tokens": None}
        return {"available": [listed], "status": status, "label": "Without a model", "configured": True}


def known() -> Known:
    try:
        workers = presence.present()
    except redis.RedisError:
        workers = []
    return Known(get_settings(), workers)


def _model_json(model: ModelSpec, status: str) -> Json:
    return {
        "id": model.id,
        "name": model.name,
        "status": status,
        "context_tokens": model.context_tokens,
        "abilities": sorted(model.abilities),
    }


def _list(owner_id: str) -> Json:
    models = known()
    with reading() as session:
        chosen = users.get(session, owner_id).model
        default = models.default_name(session)
    current, default = (models.place(name)[1] for name in (chosen or default, default))
    return {
        "success": True,
        "models": models.as_json(),
        "current_model": current,
        "default_model": default,
        "voice": voice_models.here(models.settings),
    }


# --- switching


def _switch(owner_id: str, model_id: str | None) -> Json:
    models = known()
    chosen = require(models, model_id.strip()) if model_id and model_id.strip() else None
    with transaction() as session:
        users.set_model(session, owner_id, chosen)
        name = chosen or llm_defaults.resolve(session, owner_id, llm_defaults.CHAT) or models.default_name(session)
        last = next(iter(jobs.page(session, owner_id, kind="chat", status="succeeded", before=None, limit=1)), None)
        result = (last.result if last is not None else None) or {}
    provider, shown = models.place(name)
    return {
        "success": True,
        "current_model": {
            "name": shown,
            "provider": provider,
            "last_response_time": round(result.get("response_ms", 0) / 1000, 3),
            "last_tokens": result.get("completion_tokens", 0),
        },
    }


def require(models: Known, model_id: str) -> str:
    """The full name. Raises NotFound, or Conflict where its provider is not set up."""
    spec = catalogue.identify(models.settings, model_id, models.served())
    providers = catalogue.providers(models.settings)
    if spec is None:
        provider_id, rest = catalogue.split_name(model_id)
        server = providers.get(provider_id)
        if server is None or not rest or not server.models_from_server or provider_id in models.servers:
            raise NotFound("Model not found")
        spec = catalogue.server_model(server, rest)  # its server has not been heard yet; the next message asks it
    provider = providers.get(spec.provider)
    if provider is not None and not provider.is_configured:
        raise Conflict(
            f"{spec.name} is served by {provider.label}, which is not set up here: "
            f"set {catalogue.setting_of(provider.id)}."
        )
    return catalogue.full_name(spec.provider, spec.id)


# --- for admins


def _info() -> Json:
    models, settings = known(), get_settings()
    with reading() as session:
        provider, name = models.place(models.default_name(session))
    path = catalogue.local_models(settings).get(name) if provider == LOCAL else None
    file = models.local_json(name, path) if path is not None else None
    now = models.resident.get(name, {})
    return {
        "name": name,
        "provider": provider,
        "state": file["state"] if file else now.get("state"),
        "progress": now.get("progress"),
        "detail": now.get("detail"),
        "file": path and {
            "name": path.name,
            "bytes": file["bytes"] if file else 0,
            **{key: catalogue.origin(path).get(key) for key in ("repo", "revision", "sha256")},
        },
        "parameters": now.get("parameters"),
        "context_tokens": now.get("context_tokens"),
        "configured": {
            "context_tokens": settings.model_n_ctx,
            "slots": settings.model_slots,
            "threads": settings.model_n_threads or None,
            "gpu_layers": settings.model_n_gpu_layers,
            "cache_mb": settings.model_cache_mb,
            "disk_cache_mb": settings.model_disk_cache_mb,
            "memory_mb": settings.model_memory_mb or None,
            "kv_type": settings.model_kv_type,
            "flash_attention": settings.model_flash_attention,
            "max_tokens": settings.chat_max_tokens,
        },
        "resident": list(models.resident.values()),
        "engine": {key: value for key, value in models.engine.items() if key != "jobs"},
    }  # fmt: skip
