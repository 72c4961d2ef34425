"""The web process: it hears and answers; nothing slow happens here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.openapi import OpenAPIConfig
from litestar.plugins.pydantic import PydanticPlugin

from api.auth import gate
from api.chats import ChatController
from api.conversations import ConversationController
from api.errors import HANDLERS
from api.events import job_events, job_socket
from api.imports import ImportController
from api.jobs import JobController
from api.search import rag_search, search
from api.status import health, root, status
from api.waiting import read_state_async
from config.logging import configure_logging
from config.settings import MIB, get_settings
from storage import users
from storage.connections import close_clients
from storage.database import dispose, transaction
from storage.listeners import EventHub


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    with transaction() as session:
        users.ensure_local_owner(session)
    app.state.hub = EventHub(read_state_async)
    await app.state.hub.start()
    try:
        yield
    finally:
        await app.state.hub.stop()
        close_clients()
        dispose()


def _cors(origins: tuple[str, ...]) -> CORSConfig | None:
    return CORSConfig(allow_origins=list(origins), allow_credentials=True) if origins else None


def create_app() -> Litestar:
    settings = get_settings()
    configure_logging("web")
    return Litestar(
        route_handlers=[
            root, health, status, JobController, job_events, job_socket, ChatController, ConversationController,
            ImportController, search, rag_search,
        ],
        middleware=[gate],
        exception_handlers=HANDLERS,
        lifespan=[_lifespan],
        plugins=[PydanticPlugin(prefer_alias=True)],
        cors_config=_cors(settings.cors_origins),
        openapi_config=OpenAPIConfig(title="Backchannel", version="0.1.0", path="/docs"),
        request_max_body_size=settings.max_body_mb * MIB,
        logging_config=None,
        debug=False,
    )  # fmt: skip
