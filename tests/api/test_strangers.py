"""A walk over every address, as somebody who has nothing to do with what is behind it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.exceptions import WebSocketDisconnect
from litestar.routes import HTTPRoute, WebSocketRoute
from litestar.testing import TestClient

from api.auth import PUBLIC_PATHS, SIGN_IN_PATHS
from config.queues import Kind
from config.settings import MIB
from storage import blobs, keys, users
from storage.account_tables import ApiKey
from storage.database import reading, transaction
from storage.project_tables import FileAttachment, Project, ProjectDraft, ProjectDraftVersion
from storage.schema import metadata
from tests import factories
from tests.api.conftest import Start
from tests.api.helpers import problem
from tests.standins.share_host import LINK

Client = TestClient[Litestar]
# What stands in an address and is nobody's: names of files of ours and of kinds of work.
NOBODYS = {"name", "path", "prompt_type", "type"}
# A body that would do something, where the address takes one.
BODIES: dict[str, Any] = {
    "PATCH /api/conversations/{conversation_id}": {"title": "Mine now"},
    "POST /api/conversations/{conversation_id}/summary": {},
    "PATCH /api/conversations/{conversation_id}/summary": {"summary": "Mine now"},
    "PATCH /api/conversations/{conversation_id}/project-draft": {"title": "Mine now", "description": "x"},
    "POST /api/conversations/{conversation_id}/project": {"title": "Mine now", "description": "x"},
    "POST /api/conversations/{conversation_id}/project-draft": {},
    "POST /api/conversations/{conversation_id}/project-draft/chat/stream": {"message": "Hello"},
    "POST /api/conversations/{conversation_id}/project-draft/chat": {"message": "Hello"},
}


# Addresses with no id in them where one may stand in the query or the body: what is asked there, with somebody else's.
CHAT = {"message": "Hello", "session_id": "{conversation_id}"}
ELSEWHERE: dict[str, list[Any]] = {
    "POST /api/chat": [CHAT],
    "POST /api/text-chat": [{"text": "Hello", "session_id": "{conversation_id}"}],
    "POST /chat": [{"prompt": "Hello", "session_id": "{conversation_id}"}],
    "GET /api/chat/history?session_id={conversation_id}": [None],
    "DELETE /api/chat/history?session_id={conversation_id}": [None],
    "POST /api/upload": [{"session_id": "{conversation_id}"}],
    "POST /api/conversations/import": [
        {"url": LINK, "duplicate_resolution": "update_existing", "target_conversation_id": "{conversation_id}"}
    ],
    "POST /api/jobs": [
        {"kind": "chat", "input": CHAT},
        {"kind": "import", "input": {"url": LINK, "target_conversation_id": "{conversation_id}"}},
        *(
            {"kind": kind, "input": {"conversation_id": "{conversation_id}", **more}}
            for kind, more in (
                ("summarize", {}),
                ("draft", {}),
                ("draft_chat", {"message": "Hello"}),
                ("project", {"title": "Mine now", "description": "x"}),
            )
        ),
    ],
}
# What touches nobody but the caller, or the whole house and then asks for an admin.
OWN = {
    *("POST /api/sessions", "POST /api/session/reset", "POST /api/models/switch", "POST /api/avatar/state"),
    *("POST /api/imports", "POST /api/conversations/import-slack", "POST /api/rag_search", "POST /auth/login"),
    *("POST /api/auth/logout", "DELETE /api/auth/cleanup", "POST /admin/cache/flush"),
    *("POST /api/llm-prompts/{prompt_type}", "DELETE /api/llm-prompts/{prompt_type}"),
    *("PUT /api/llm-defaults/{prompt_type}", "POST /api/voice/transcribe", "POST /api/voice/speak"),
}


@dataclass
class Theirs:
    """One of everything, of somebody else."""

    owner_id: str
    ids: dict[str, str]


@pytest.fixture
def theirs(sqlite: str) -> Theirs:
    owner = factories.owner()
    conversation = factories.conversation(owner, "Their secret plans")
    factories.question(conversation, "their words", owner)
    with transaction() as session:
        file = FileAttachment(
            owner_id=owner, conversation_id=conversation, filename="secret.txt", file_size=1, file_type="text/plain",
            digest="0" * 64,
        )  # fmt: skip
        draft = ProjectDraft(conversation_id=conversation, created_by_user_id=owner)
        session.add(file)
        session.add(draft)
        session.flush()
        version = ProjectDraftVersion(
            project_draft_id=draft.id, version_number=1, title="Their secret plans", description="x"
        )
        project = Project(
            conversation_id=conversation, marker="m", linear_project_id="p", linear_url="u", title="t", description="d"
        )
        session.add(version)
        session.flush()
        draft.active_version_id = version.id
        session.add(project)
        session.flush()
        versions = dict.fromkeys(("version_id", "from_id", "to_id"), version.id)
        ids = {"file_id": file.id, **versions, "draft_id": draft.id}
    spoken, _ = blobs.store(io.BytesIO(b"their voice"), MIB)
    job = factories.running(Kind.SPEAK, owner_id=owner).id
    factories.finish(job, result={"blob": spoken})
    return Theirs(owner, {**ids, "conversation_id": conversation, "session_id": conversation, "job_id": job})


@pytest.fixture(params=["local", "required"])
def stranger(request: pytest.FixtureRequest, start: Start, theirs: Theirs) -> Client:
    """Somebody with the usual rights: the local owner, or a person with a key."""
    client = start(AUTH_MODE=request.param)
    if request.param == "required":
        with transaction() as session:
            user = users.add(session, "stranger")
            client.headers["X-API-Key"] = keys.make(session, user.id, "")[1]
    return client


def routes(client: Client) -> Iterator[tuple[str, str]]:
    """Method and address, as the documentation names it."""
    for route in client.app.routes:
        if isinstance(route, HTTPRoute) and not route.path.startswith("/docs"):
            for method in sorted({*route.methods} - {"OPTIONS", "HEAD"}):
                yield method, re.sub(r":\w+(?=})", "", route.path)


def owned(template: str) -> set[str]:
    """The ids of somebody's things in an address; a file's signed address is its own permission."""
    return set() if template == "/api/files/{file_id}" else set(re.findall(r"{(\w+)}", template)) - NOBODYS


def everything(but: tuple[type, ...] = ()) -> dict[str, list[Any]]:
    """All rows there are: what a stranger does must leave them alone."""
    with reading() as session:
        connection = session.connection()
        left_out = {table.__tablename__ for table in but}  # type: ignore[attr-defined]
        return {
            table.name: sorted(map(str, connection.execute(table.select())))
            for table in metadata.sorted_tables
            if table.name not in left_out
        }


def call(client: Client, method: str, path: str, body: Any) -> httpx.Response:
    headers = {"Prefer": "respond-async"}
    if method in ("POST", "PUT", "PATCH") and path.endswith("/files"):
        return client.request(method, path, files={"file": ("a.txt", b"x")}, headers=headers)
    if path == "/api/upload":
        return client.request(method, path, data=body, files={"file": ("a.txt", b"x")}, headers=headers)
    return client.request(method, path, json=body, headers=headers, follow_redirects=False)


def test_every_route_is_thought_of(stranger: Client) -> None:
    """By its address, as a listing, as one with ids elsewhere, or as one that is the caller's own."""
    without = {f"{method} {path}" for method, path in routes(stranger) if method != "GET" and not owned(path)}
    elsewhere = {asked.partition("?")[0] for asked in ELSEWHERE if not asked.startswith("GET")}
    assert without == elsewhere | OWN
    assert not elsewhere & OWN


def test_what_belongs_to_somebody_else_is_not_there(stranger: Client, theirs: Theirs) -> None:
    before = everything(but=(ApiKey,))
    walked = 0
    for method, template in routes(stranger):
        names = owned(template)
        if not names:
            continue
        assert names <= theirs.ids.keys(), f"say what {names} are in {template}"
        path = template.format_map({**dict.fromkeys(NOBODYS, "x"), **theirs.ids})
        answer = call(stranger, method, path, BODIES.get(f"{method} {template}", {}))
        assert answer.status_code == 404, f"{method} {template}: {answer.status_code} {answer.text[:200]}"
        assert "secret" not in answer.text
        walked += 1
    assert walked >= 12
    assert everything(but=(ApiKey,)) == before


def test_ids_in_bodies_and_queries_are_looked_at_too(stranger: Client, theirs: Theirs) -> None:
    def filled(asked: str) -> str:
        return re.sub(r"{(\w+)}", lambda found: theirs.ids[found[1]], asked)

    before = everything(but=(ApiKey,))
    for asked, bodies in ELSEWHERE.items():
        method, path = filled(asked).split()
        for body in bodies:
            problem(call(stranger, method, path, json.loads(filled(json.dumps(body)))), 404)
    assert everything(but=(ApiKey,)) == before


def test_listings_hold_nothing_of_others(stranger: Client, theirs: Theirs) -> None:
    given = {*theirs.ids.values(), theirs.owner_id}
    walked = 0
    for method, template in routes(stranger):
        if method != "GET" or "{" in template or template in ("/redoc", "/openapi.json", "/api/auth/login"):
            continue
        if template in ("/api/search", "/api/auth/callback"):  # waits for a worker; is no listing
            continue
        answer = stranger.get(template, follow_redirects=False)
        assert answer.status_code in (200, 403), f"{template}: {answer.status_code} {answer.text[:200]}"
        assert not any(name in answer.text for name in given), template
        walked += 1
    assert walked >= 8


def test_nobody_gets_anywhere_without_signing_in(start: Start, theirs: Theirs) -> None:
    client, before = start(AUTH_MODE="required"), everything()
    for method, template in routes(client):
        if template in PUBLIC_PATHS | SIGN_IN_PATHS:
            continue
        path = template.format_map({**dict.fromkeys(NOBODYS, "x"), **theirs.ids})
        answer = call(client, method, path, BODIES.get(f"{method} {template}", {}))
        assert answer.status_code == 401, f"{method} {template}: {answer.status_code}"
        assert "www-authenticate" in answer.headers
    assert everything() == before


def test_and_through_no_socket(start: Start, theirs: Theirs) -> None:
    client = start(AUTH_MODE="required")
    sockets = [route.path for route in client.app.routes if isinstance(route, WebSocketRoute)]
    assert {"/ws/jobs", "/ws/voice"} <= {*sockets}
    for path in sockets:
        with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect(path):
            pass
        assert closed.value.code == 4401


def test_a_service_owns_what_it_makes_and_nothing_else(start: Start, theirs: Theirs) -> None:
    client = start(AUTH_MODE="required")
    with transaction() as session:
        user = users.add(session, "bot", "service")
        client.headers["X-API-Key"] = keys.make(session, user.id, "")[1]
    made = client.post("/api/jobs", json={"kind": "noop"})
    assert factories.load(made.json()["id"]).owner_id == user.id
    problem(client.get(f"/api/jobs/{theirs.ids['job_id']}"), 404)


def test_the_owner_finds_what_the_stranger_does_not(start: Start, theirs: Theirs) -> None:
    """Else the walk above would prove nothing."""
    client = start(AUTH_MODE="required")
    with transaction() as session:
        client.headers["X-API-Key"] = keys.make(session, theirs.owner_id, "")[1]
    found = 0
    for method, template in routes(client):
        names = set(re.findall(r"{(\w+)}", template))
        if method == "GET" and names - NOBODYS and not template.endswith(("/events", "/api/files/{file_id}")):
            answer = call(client, method, template.format_map({**dict.fromkeys(NOBODYS, "x"), **theirs.ids}), None)
            found += answer.status_code in (200, 307)
            assert answer.status_code in (200, 307) or "summary" in template, f"{template}: {answer.text[:200]}"
    assert found >= 6
