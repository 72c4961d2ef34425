"""A share link becomes a conversation, and that a draft, while the caller watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import orjson
import pytest

from config.queues import Kind
from storage import conversations
from storage.database import transaction
from storage.tables import LOCAL_OWNER
from tests import factories
from tests.api.conftest import Listening
from tests.api.helpers import job_ids, work
from tests.servers import wait_until
from tests.standins.mem0_server import mem0_server
from tests.standins.share_host import LINK, Page, share_host
from tests.tasks.scripted_drafts import Scripted, scripted

Frames = list[dict[str, Any]]
Meanwhile = Callable[..., Future[Any]]


@pytest.fixture
def page(settings: pytest.MonkeyPatch) -> Iterator[type[Page]]:
    with share_host() as (page, url):
        settings.setenv("CHATGPT_SHARE_URL", url)
        yield page


@pytest.fixture
def watched(page: type[Page], live: Listening, meanwhile: Meanwhile) -> Callable[..., Frames]:
    """Sends the request and does the jobs it makes, as a worker would; what the caller saw."""

    def watch(*kinds: str, accept: str = "text/event-stream", **body: Any) -> Frames:
        before = {job.id for job in factories.all_jobs()}
        headers = {"Accept": accept}
        waiting = meanwhile(live.client.post, "/api/conversations/import", json={"url": LINK, **body}, headers=headers)
        for kind in kinds:
            wait_until(lambda kind=kind: job_ids(kind) and job_ids(kind)[0] not in before, what=f"a new {kind} job")
            work(job_ids(kind)[0])
        answer = waiting.result(20)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith(accept)
        return [orjson.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]

    return watch


def test_frames_from_the_first_to_the_conversation(watched: Callable[..., Frames]) -> None:
    importing, *written, done = watched("import", "draft")
    assert importing == {"type": "state", "state": "importing"}
    assert done["type"] == "done"
    assert (done["conversation"]["title"], done["conversation"]["url"]) == ("Roses", LINK)
    assert {frame["type"] for frame in written} == {"content"}
    draft = done["project_draft"]
    assert draft["conversation_id"] == done["conversation"]["id"]
    assert (draft["title"], draft["active_version"]["model"]) == ("Roses", "extractive")
    assert "".join(frame["content"] for frame in written) == draft["description"]


def test_frames_as_lines(watched: Callable[..., Frames]) -> None:
    frames = watched("import", "draft", accept="application/x-ndjson")
    assert [frame["type"] for frame in frames] == ["state", "content", "done"]


def test_a_link_that_is_known_asks_what_to_do(watched: Callable[..., Frames]) -> None:
    watched("import", "draft")
    (conflict,) = watched()
    (known,) = conflict["conversations"]
    assert (conflict["type"], known["title"], known["url"]) == ("conflict", "Roses", LINK)
    assert known.keys() == {"id", "title", "updated_at", "url"}
    assert watched("import", duplicate_resolution="update_existing")[-1]["conversation"]["id"] == known["id"]
    assert watched("import", "draft", duplicate_resolution="create_new")[-1]["conversation"]["id"] != known["id"]
    assert len(factories.all_conversations()) == 2


def test_a_link_updates_the_conversation_it_is_told_to(watched: Callable[..., Frames]) -> None:
    with transaction() as session:
        target = conversations.upsert(session, LOCAL_OWNER, *factories.imported("other")).conversation_id
    done = watched("import", "draft", duplicate_resolution="update_existing", target_conversation_id=target)[-1]
    assert done["conversation"]["id"] == target
    assert [row.id for row in factories.all_conversations()] == [target]


# --- the draft


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    with scripted(monkeypatch, Scripted(100_000, "json_schema")) as model:
        model.answers = ['{"title": "Roses", "description": "Plant them all over."}']
        yield model


def test_the_draft_is_shown_as_it_is_written(model: Scripted, watched: Callable[..., Frames]) -> None:
    frames = watched("import", "draft", llm_model="scripted", llm_provider="scripted")
    assert [frame["state"] for frame in frames if frame["type"] == "state"] == ["importing", "generating"]
    written = [frame["content"] for frame in frames if frame["type"] == "content"]
    assert len(written) > 2
    assert "".join(written) == frames[-1]["project_draft"]["description"] == "Plant them all over."
    assert factories.all_jobs(Kind.DRAFT)[0].input["model"] == "scripted/scripted"


def test_with_memories_every_state_is_told(
    settings: pytest.MonkeyPatch, model: Scripted, request: pytest.FixtureRequest
) -> None:
    with mem0_server() as service:
        settings.setenv("MEM0_API_URL", service.url)
        frames = request.getfixturevalue("watched")("import", "draft")
    states = [frame["state"] for frame in frames if frame["type"] == "state"]
    assert states == ["importing", "extracting_chat_keywords", "retrieving_memories", "generating"]
    assert len(service.asked) == 1


def test_a_conversation_too_long_for_the_model_asks_what_to_do(
    model: Scripted, watched: Callable[..., Frames], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scripted, "count_tokens", lambda _self, text: 99_999 if text.startswith("User: ") else 10)
    importing, conflict, done = watched("import", "draft")
    assert (importing["type"], conflict["type"], done["type"]) == ("state", "model_limit_conflict", "done")
    assert conflict.keys() == {"type", "message", "suggestion"}
    assert "accept_summarization" in conflict["suggestion"]
    assert (done["conversation"]["title"], done["project_draft"]) == ("Roses", None)


def test_one_that_may_be_summarised_is_first(model: Scripted, watched: Callable[..., Frames]) -> None:
    model.answers.insert(0, "All about roses.")
    frames = watched("import", "summarize", "draft", accept_summarization=True)
    states = [frame["state"] for frame in frames if frame["type"] == "state"]
    assert states == ["importing", "summarizing", "generating"]
    assert frames[-1]["project_draft"]["title"] == "Roses"
    assert "".join(frame["content"] for frame in frames if frame["type"] == "content") == "Plant them all over."


def test_a_draft_that_fails_takes_nothing_from_the_import(model: Scripted, watched: Callable[..., Frames]) -> None:
    model.answers = ["[]"]
    *_, error, done = watched("import", "draft")
    assert (error["type"], error["code"]) == ("error", "PROVIDER_REFUSED")
    assert (done["type"], done["conversation"]["title"], done["project_draft"]) == ("done", "Roses", None)


def test_a_locked_conversation_keeps_its_draft(watched: Callable[..., Frames]) -> None:
    first = watched("import", "draft")[-1]
    with transaction() as session:
        row = conversations.get(session, first["conversation"]["id"], LOCAL_OWNER, lock=True)
        row.is_locked = True
        session.add(row)
    again = watched("import", duplicate_resolution="update_existing")
    assert again[-1]["project_draft"] == first["project_draft"]
    assert [frame["type"] for frame in again] == ["state", "done"], "nothing is new, so nothing is written"


# --- what goes wrong


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, b"", "CHAT_NOT_FOUND"),
        (403, b"", "BLOCKED"),
        (200, b"<title>Just a moment", "BLOCKED"),
        (200, b"x", "FORMAT_CHANGED"),
    ],
)
def test_errors_are_told_apart(
    watched: Callable[..., Frames], page: type[Page], status: int, body: bytes, code: str
) -> None:
    page.status, page.body = status, body
    *_, last = watched("import")
    assert (last["type"], last["code"]) == ("error", code)
    assert last["message"]


def test_who_cannot_wait_gets_the_job(live: Listening, page: type[Page]) -> None:
    answer = live.client.post("/api/conversations/import", json={"url": LINK}, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    assert answer.json()["kind"] == "import"


@pytest.mark.parametrize("path", ["/api/conversations/import", "/api/imports"])
def test_a_summary_is_made_though_nobody_watches(page: type[Page], live: Listening, path: str) -> None:
    body = {"url": LINK, "accept_summarization": True}
    answer = live.client.post(path, json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    work(answer.json()["id"])
    (job_id,) = job_ids("summarize")
    work(job_id)
    job = live.client.get(f"/api/jobs/{job_id}").json()
    assert job["status"] == "succeeded", job["error"]
    summary = live.client.get(f"/api/conversations/{job['result']['conversation_id']}/imported_chat_summary")
    assert summary.status_code == 200, summary.text


def test_the_model_that_was_named_writes_that_summary(page: type[Page], live: Listening) -> None:
    named = {"llm_model": "grok-4", "llm_provider": "xai"}
    body = {"url": LINK, "accept_summarization": True, **named}
    answer = live.client.post("/api/conversations/import", json=body, headers={"Prefer": "respond-async"})
    work(answer.json()["id"])
    (job_id,) = job_ids("summarize")
    assert factories.load(job_id).input["model"] == "xai/grok-4"


def test_without_being_asked_no_summary_is_made(page: type[Page], live: Listening) -> None:
    answer = live.client.post("/api/conversations/import", json={"url": LINK}, headers={"Prefer": "respond-async"})
    work(answer.json()["id"])
    assert job_ids("summarize") == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": ""},
        {"url": "https://example.org/share/x"},
        {"url": LINK, "duplicate_resolution": "maybe"},
        {"url": LINK, "more": 1},
        {"url": LINK, "target_conversation_id": 7},
    ],
)
def test_what_cannot_be_used_is_refused_before_the_stream(live: Listening, body: dict[str, Any]) -> None:
    assert live.client.post("/api/conversations/import", json=body).status_code == 422
    assert factories.all_jobs(Kind.IMPORT) == []


def test_what_is_not_mine_cannot_be_updated(live: Listening, page: type[Page]) -> None:
    theirs = factories.conversation(factories.owner())
    own = factories.conversation(LOCAL_OWNER)
    for target, code in ((theirs, "NOT_FOUND"), (own, "CONFLICT")):
        body = {"url": LINK, "duplicate_resolution": "update_existing", "target_conversation_id": target}
        last = live.client.post("/api/conversations/import", json=body).text.splitlines()[-2]
        assert orjson.loads(last.removeprefix("data: "))["code"] == code
