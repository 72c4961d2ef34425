"""Models and what they are told."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from typing_extensions import TypedDict

from api.openapi.shapes import (
    Bytes,
    Count,
    Id,
    Model,
    No,
    Object,
    Operation,
    Provider,
    Seconds,
    Time,
    Yes,
    eg,
    ok,
)

PromptType = Annotated[str, eg("project_draft")]


# --- models


class ListedModel(TypedDict):
    id: Model
    name: Annotated[str, eg("Qwen2.5 7B Instruct")]
    status: Annotated[Literal["online", "loading", "offline"], eg("online")]
    context_tokens: Annotated[int | None, eg(32_768)]
    abilities: Annotated[list[str], eg(["json_schema", "tools"])]
    state: NotRequired[Annotated[str, eg("ready", "Of a local model: the worker's word")]]
    bytes: NotRequired[Bytes]
    repo: NotRequired[Annotated[str | None, eg("Qwen/Qwen2.5-7B-Instruct-GGUF")]]
    progress: NotRequired[Annotated[float, eg(0.4, "While it is loaded")]]
    detail: NotRequired[Annotated[str, eg("Its file is gone.")]]


class ListedProvider(TypedDict):
    available: list[ListedModel]
    status: Annotated[Literal["online", "loading", "offline"], eg("online")]
    label: Annotated[str, eg("This machine")]
    configured: Yes
    default: NotRequired[Model]
    detail: NotRequired[Annotated[str, eg("The key is refused.")]]


_LOCAL = {
    "available": [
        {
            "id": "qwen2.5-7b-instruct-q4_k_m",
            "name": "Qwen2.5 7B Instruct",
            "status": "online",
            "context_tokens": 32_768,
            "abilities": ["json_schema", "tools"],
        }
    ],
    "status": "online",
    "label": "This machine",
    "configured": True,
}


class VoicePart(TypedDict):
    part: Annotated[Literal["transcriber", "speaker", "emotion"], eg("speaker")]
    name: Annotated[str, eg("en_US-lessac-medium")]
    repo: Annotated[str | None, eg("rhasspy/piper-voices")]
    bytes: Bytes


class Models(TypedDict):
    success: Literal[True]
    models: Annotated[dict[str, ListedProvider], eg({"local": _LOCAL}, "By provider")]
    current_model: Model
    default_model: Model
    voice: list[VoicePart]


class CurrentModel(TypedDict):
    name: Model
    provider: Provider
    last_response_time: Seconds
    last_tokens: Count | None


class Switched(TypedDict):
    success: Literal[True]
    current_model: CurrentModel


class ModelFile(TypedDict):
    name: Annotated[str, eg("qwen2.5-7b-instruct-q4_k_m.gguf")]
    bytes: Bytes
    repo: Annotated[str | None, eg("Qwen/Qwen2.5-7B-Instruct-GGUF")]
    revision: Annotated[str | None, eg(None)]
    sha256: Annotated[str | None, eg(None)]


class ModelInfo(TypedDict):
    name: Model
    provider: Provider
    state: Annotated[str | None, eg("ready")]
    progress: Annotated[float | None, eg(None)]
    detail: Annotated[str | None, eg(None)]
    file: ModelFile | None
    parameters: Annotated[Any, eg(7_615_616_512)]
    context_tokens: Annotated[int | None, eg(32_768)]
    configured: Annotated[dict[str, Any], eg({"slots": 4, "threads": 8}, "The settings it was loaded with")]
    resident: Annotated[list[dict[str, Any]], eg([], "All local models that are loaded")]
    engine: Object


class ProviderDefault(TypedDict):
    id: Provider
    label: Annotated[str, eg("This machine")]
    status: Annotated[str, eg("online")]
    configured: Yes
    default_model: Model | None
    models: list[ListedModel]


class Providers(TypedDict):
    providers: list[ProviderDefault]
    total: Count


class LlmDefault(TypedDict):
    prompt_type: PromptType
    llm_provider: Provider
    llm_model: Model
    is_default: Annotated[bool, eg(False, "Nobody chose one: it is the house's")]
    updated_by_user_id: Id | None
    updated_at: Time | None


# --- prompts


class Prompt(TypedDict):
    prompt_type: PromptType
    system_prompt: Annotated[str, eg("You write project drafts.")]
    is_default: No
    id: NotRequired[Id]
    version: NotRequired[Annotated[int, eg(1)]]
    is_active: NotRequired[Yes]
    created_by_user_id: NotRequired[Id | None]
    created_at: NotRequired[Time]


class Prompts(TypedDict):
    prompts: list[Prompt]


class PromptVersions(TypedDict):
    versions: list[Prompt]


OPERATIONS: dict[str, Operation] = {
    "GET /api/models": ok(Models),
    "POST /api/models/switch": ok(Switched, 404, 409, sent={"model_id": "qwen2.5-7b-instruct-q4_k_m"}),
    "GET /admin/model/info": ok(ModelInfo),
    "GET /api/llm-defaults/providers": ok(Providers),
    "GET /api/llm-defaults/{prompt_type}": ok(LlmDefault),
    "PUT /api/llm-defaults/{prompt_type}": ok(
        LlmDefault, 409, sent={"llm_provider": "local", "llm_model": "qwen2.5-7b-instruct-q4_k_m"}
    ),
    "GET /api/llm-prompts": ok(Prompts),
    "GET /api/llm-prompts/{prompt_type}": ok(Prompt),
    "GET /api/llm-prompts/{prompt_type}/default": ok(Prompt),
    "GET /api/llm-prompts/{prompt_type}/versions": ok(PromptVersions),
    "POST /api/llm-prompts/{prompt_type}": ok(Prompt, 409, sent={"system_prompt": "You write project drafts."}),
    "DELETE /api/llm-prompts/{prompt_type}": ok(Prompt),
}
