"""The web process: it hears and answers; nothing slow happens here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.plugins.pydantic import PydanticPlugin

from api.auth import gate, page_origins
from api.chats import ChatController
from api.clarity import ClarityController
from api.conversations import ConversationController
from api.docs import docs_asset, openapi_config, openapi_json, redoc
from api.drafts import DraftController
from api.errors import HANDLERS
from api.events import job_events, job_socket
from api.exports import export
from api.faithh import FaithhController
from api.files import FileController, signed_file, upload
from api.images import image
from api.imports import ImportController
from api.jobs import JobController
from api.limits import check_routes
from api.linked_imports import import_link
from api.llm_defaults import LlmDefaultController
from api.methods import answer_head_and_options
from api.models import ModelController
from api.pocket import AdminController, PocketChatController
from api.projects import ProjectController
from api.prompts import PromptController
from api.search import rag_search, search
from api.sign_in import ROUTES as SIGN_IN
from api.sign_in import say_who_can_sign_in
from api.slack import import_from_slack
from api.speech import SpeechController
from api.status import health, root, status
from api.summaries import SummaryController
from api.voice import voice_socket
from api.waiting import read_state_async
from config.catalogue import providers
from config.logging import configure_logging
from config.settings import MIB, get_settings
from storage import users
from storage.connections import async_redis_client, close_clients
from storage.database import dispose, transaction
from storage.listeners import EventHub
from storage.voice_lines import LineHub


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    with transaction() as session:
        users.ensure_local_owner(session)
        say_who_can_sign_in(session)
    hub, lines = EventHub(read_state_async), LineHub()
    app.state.hub, app.state.lines = hub, lines
    await hub.start()
    lines.start(async_redis_client())
    try:
        yield
    finally:
        await lines.stop()
        await hub.stop()
        close_clients()
        dispose()


def _cors(origins: list[str]) -> CORSConfig | None:
    if not origins:
        return None
    told = ["Location", "Preference-Applied", "Retry-After", "RateLimit", "RateLimit-Policy"]
    return CORSConfig(allow_origins=origins, allow_credentials=True, expose_headers=told)


def create_app() -> Litestar:
    settings = get_settings()
    configure_logging("web")
    providers(settings)  # a MODELS_FILE that cannot be used stops the process here, not the first who asks
    imports = Router("/", route_handlers=[ImportController], request_max_body_size=(settings.max_upload_mb + 1) * MIB)
    files = Router("/", route_handlers=[FileController, upload], request_max_body_size=(settings.max_file_mb + 1) * MIB)
    sound_mb = settings.voice_max_file_mb + 1
    speech = Router("/", route_handlers=[SpeechController], request_max_body_size=sound_mb * MIB)
    app = Litestar(
        route_handlers=[
            root, health, status, JobController, job_events, job_socket, voice_socket, ChatController,
            ConversationController, ModelController, SummaryController, imports, import_link, export, search,
            rag_search, openapi_json, redoc, docs_asset,
            files, speech, signed_file, image, DraftController, ProjectController, PromptController,
            LlmDefaultController, FaithhController, ClarityController, PocketChatController, AdminController,
            *SIGN_IN, import_from_slack,
        ],
        middleware=[gate],
        exception_handlers=HANDLERS,
        lifespan=[_lifespan],
        plugins=[PydanticPlugin(prefer_alias=True)],
        cors_config=_cors(page_origins(settings)),
        openapi_config=openapi_config(),
        request_max_body_size=settings.max_body_mb * MIB,
        logging_config=None,
        debug=False,
    )  # fmt: skip
    check_routes(app.routes, settings)
    app.asgi_handler = answer_head_and_options(app.asgi_handler)
    return app
