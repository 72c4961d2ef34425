"""FAITHH's side window: figures of the session, two faces that follow the work, the workspace."""

from __future__ import annotations

from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from config.queues import Kind
from config.settings import reset_settings
from storage import avatars, messages, presence
from storage.connections import close_clients, redis_client
from storage.database import transaction
from storage.events import EventLog, NewEvent
from storage.presence import WorkerPresence
from storage.tables import LOCAL_OWNER
from tests import factories
from tests.api.conftest import Listening, Start
from tests.api.helpers import Json, faithh_problem, fields, problem, work

Client = TestClient[Litestar]


def stats(client: Client) -> Json:
    body = client.get("/api/session/stats").json()
    assert body["success"] is True
    return body["stats"]


def say(client: Client, text: str = "Hello") -> str:
    body = {"message": text, "use_rag": False}
    return client.post("/api/chat", json=body, headers={"prefer": "respond-async"}).json()["id"]


def avatar(client: Client, character: str) -> Json:
    return client.get("/api/avatar/state").json()["avatars"][character]


def workers(*, without: str = "") -> None:
    for name, queue in (("generate", "chat"), ("index", "search"), ("voice", "voice"), ("background", "import")):
        if name != without:
            presence.report(WorkerPresence(name, [queue], slots=1, state="ready"))


# --- the session's figures


def test_a_session_that_never_began(client: Client) -> None:
    told = stats(client)
    assert (told["message_count"], told["token_count"], told["avg_response_time"]) == (0, 0, 0.0)
    assert told["session_duration"] >= 0
    assert told["session_start"] == told["last_activity"]


def test_figures_follow_the_answers(client: Client) -> None:
    job_id = say(client)
    assert stats(client)["message_count"] == 0  # nothing was answered yet
    work(job_id)
    job = factories.load(job_id)
    assert job.result is not None
    told = stats(client)
    assert (told["message_count"], told["token_count"]) == (1, job.result["completion_tokens"])
    assert told["avg_response_time"] == job.result["response_ms"] / 1000
    assert told["session_id"] == job.conversation_id
    assert told["session_start"] < told["last_activity"]


def test_the_mean_is_of_all_answers(client: Client) -> None:
    question = factories.question(conversation_id := client.post("/api/sessions").json()["session_id"])
    for number, (tokens, ms) in enumerate(((10, 1000), (30, 2000))):
        with transaction() as session:
            messages.add_answer(
                session, question, "x", message_id=f"m{number}", completion_tokens=tokens, response_ms=ms
            )
    assert stats(client).items() >= {
        "message_count": 2, "token_count": 40, "avg_response_time": 1.5, "session_id": conversation_id,
    }.items()  # fmt: skip


def test_a_reset_begins_anew_and_keeps_what_was_said(start: Start) -> None:
    client = start()
    work(say(client))
    assert client.post("/api/session/reset").json() == {"success": True, "message": "Session statistics reset"}
    told = stats(start())  # in another process, too
    assert (told["message_count"], told["token_count"]) == (0, 0)
    assert told["session_start"] == told["last_activity"]
    assert client.get("/api/chat/history").json()["total_count"] == 2
    work(say(client))
    assert stats(client)["message_count"] == 1


def test_another_session_has_its_own_figures(client: Client) -> None:
    work(say(client))
    client.post("/api/sessions")
    assert stats(client)["message_count"] == 0


def test_somebody_elses_session_is_not_counted(client: Client) -> None:
    other = factories.conversation(factories.owner())
    with transaction() as session:
        from storage import users

        users.set_current_conversation(session, LOCAL_OWNER, other)
    assert stats(client)["session_id"] is None


# --- faithh


def test_faithh_is_offline_without_a_worker(client: Client) -> None:
    assert avatar(client, "faithh")["status"] == "offline"


def test_faithh_follows_the_chat(client: Client, clean_redis: str) -> None:
    workers()
    assert avatar(client, "faithh").items() >= {"status": "online", "activity": "idle"}.items()
    before = avatar(client, "faithh")["last_active"]
    job_id = say(client)
    busy = {"status": "busy", "activity": "thinking"}
    assert avatar(client, "faithh").items() >= busy.items()
    claimed = factories.claim(job_id)
    assert claimed is not None
    event_log = EventLog(redis_client())
    event_log.append(job_id, 1, [NewEvent({"type": "started"})], floor=1, mode="first")
    assert avatar(client, "faithh").items() >= busy.items()
    event_log.append(job_id, 1, [NewEvent({"type": "content", "content": "Well"})], floor=2)
    assert avatar(client, "faithh").items() >= {"status": "busy", "activity": "responding"}.items()
    factories.finish(job_id, event_seq=4)
    after = avatar(client, "faithh")
    assert after.items() >= {"status": "online", "activity": "idle"}.items()
    assert after["last_active"] > before


def test_faithh_thinks_of_its_own_person_only(client: Client) -> None:
    workers()
    factories.running(Kind.CHAT, owner_id=factories.owner())
    assert avatar(client, "faithh")["activity"] == "idle"


# --- pulse


def test_pulse_tells_of_this_machine(live: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.machine._seen_at", 0.0)  # whoever looked last looked a second ago
    told = live.client.get("/api/avatar/state").json()["avatars"]["pulse"]
    metrics = told["metrics"]
    assert 0 <= metrics["cpu_usage"] <= 100
    assert 0 < metrics["memory_usage"] <= 100
    assert metrics["active_connections"] >= 1  # this one


def test_pulse_warns_of_what_is_missing(client: Client) -> None:
    workers(without="index")
    told = avatar(client, "pulse")
    assert (told["status"], told["activity"]) == ("warning", "monitoring")
    assert "No index worker is running." in told["reasons"]


def test_pulse_is_well_when_all_is(start: Start, chroma: str) -> None:
    client = start(CHROMA_URL=chroma)
    workers()
    assert avatar(client, "pulse").items() >= {"status": "online", "reasons": []}.items()
    presence.report(
        WorkerPresence("generate", ["chat"], 1, "ready", models={"language": {"name": "m", "state": "failed"}})
    )
    assert avatar(client, "pulse")["reasons"] == ["The model m could not be loaded."]


def test_without_redis_pulse_tells_it(start: Start, settings: pytest.MonkeyPatch) -> None:
    client = start()
    close_clients()
    settings.setenv("REDIS_URL", "unix:///nowhere/redis.sock")
    reset_settings()
    told = client.get("/api/avatar/state").json()["avatars"]
    assert (told["faithh"]["status"], told["pulse"]["status"]) == ("offline", "error")
    assert "Redis cannot be reached." in told["pulse"]["reasons"]


# --- by hand


def test_a_state_set_by_hand_stands_for_a_moment(client: Client) -> None:
    workers()
    body = {"character": "faithh", "status": "busy", "activity": "thinking"}
    answer = client.post("/api/avatar/state", json=body).json()
    assert (answer["success"], answer["updated"], answer["expires_in"]) == (True, "faithh", avatars.OVERRIDE_S)
    assert "30 seconds" in answer["message"]
    told = avatar(client, "faithh")
    assert told.items() >= {"status": "busy", "activity": "thinking"}.items()
    assert told["overridden_until"]
    assert "overridden_until" not in avatar(client, "pulse")
    redis_client().delete(f"bc:avatar:{LOCAL_OWNER}:faithh")  # what time does
    assert avatar(client, "faithh").items() >= {"status": "online", "activity": "idle"}.items()
    assert 0 < avatars.OVERRIDE_S <= 60


def test_half_a_state_leaves_the_other_half_to_the_work(client: Client) -> None:
    workers()
    client.post("/api/avatar/state", json={"character": "faithh", "activity": "responding"})
    assert avatar(client, "faithh").items() >= {"status": "online", "activity": "responding"}.items()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"character": "nobody", "status": "busy"},
        {"character": "faithh"},
        {"character": "faithh", "status": "warning"},
        {"character": "pulse", "activity": "thinking"},
        {"character": "pulse", "status": 5},
        {"character": "faithh", "status": "busy", "mood": "good"},
        [],
    ],
)
def test_an_unknown_state_is_422(client: Client, body: object) -> None:
    faithh_problem(client.post("/api/avatar/state", json=body), 422)
    assert "overridden_until" not in avatar(client, "faithh")


# --- workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "docs").mkdir(parents=True)
    (root / "docs" / "guide.md").write_text("# Guide\n\nPrune roses in spring.")
    (root / "main.py").write_text("print('hello')\n")
    (root / "photo.png").write_bytes(b"\x89PNG")
    return root


def test_no_workspace_is_said(client: Client) -> None:
    body = client.get("/api/workspace/scan").json()
    assert (body["success"], body["configured"], body["total_files"]) == (True, False, 0)
    assert "WORKSPACE_DIR" in body["message"]
    assert "job" not in client.get("/api/workspace/scan?index=true").json()


def test_a_scan_counts_by_kind(start: Start, folder: Path) -> None:
    client = start(WORKSPACE_DIR=str(folder))
    body = client.get("/api/workspace/scan").json()
    assert (body["success"], body["workspace"], body["total_files"], body["complete"]) == (True, "project", 3, True)
    assert {kind: told["files"] for kind, told in body["by_kind"].items()} == {"code": 1, "image": 1, "markdown": 1}
    assert body["total_size"] == sum(path.stat().st_size for path in folder.rglob("*.*"))
    assert {file["path"] for file in body["files"]} == {"docs/guide.md", "main.py", "photo.png"}
    assert body["changes"]["since"] is None
    assert str(folder) not in client.get("/api/workspace/scan").text


def test_a_scan_tells_what_changed(start: Start, folder: Path) -> None:
    client = start(WORKSPACE_DIR=str(folder))
    first = client.get("/api/workspace/scan").json()
    (folder / "new.txt").write_text("new")
    (folder / "main.py").write_text("print('longer')\n")
    (folder / "photo.png").unlink()
    changes = client.get("/api/workspace/scan").json()["changes"]
    assert {name: changes[name]["names"] for name in ("added", "changed", "removed")} == {
        "added": ["new.txt"], "changed": ["main.py"], "removed": ["photo.png"],
    }  # fmt: skip
    assert changes["since"] >= first["timestamp"][:10]
    again = client.get("/api/workspace/scan").json()["changes"]
    assert [again[name]["files"] for name in ("added", "changed", "removed")] == [0, 0, 0]


def test_a_bounded_scan_says_so(start: Start, folder: Path) -> None:
    body = start(WORKSPACE_DIR=str(folder), WORKSPACE_MAX_FILES="2").get("/api/workspace/scan").json()
    assert (body["total_files"], body["complete"]) == (2, False)


def test_scans_at_once_agree(listen: object, start: Start, folder: Path) -> None:
    client = start(WORKSPACE_DIR=str(folder))
    answers = factories.at_once(*[lambda: client.get("/api/workspace/scan") for _ in range(4)])
    assert [(answer.status_code, answer.json()["total_files"]) for answer in answers] == [(200, 3)] * 4


def test_a_workspace_that_is_not_there(start: Start, tmp_path: Path) -> None:
    body = faithh_problem(start(WORKSPACE_DIR=str(tmp_path / "nowhere")).get("/api/workspace/scan"), 503)
    assert "nowhere" not in body["detail"]


def test_indexing_is_one_job_at_a_time(start: Start, folder: Path) -> None:
    client = start(WORKSPACE_DIR=str(folder))
    job = client.get("/api/workspace/scan?index=true").json()["job"]
    assert (job["kind"], job["status"]) == ("workspace", "queued")
    assert client.get("/api/workspace/scan?index=true").json()["job"]["id"] == job["id"]
    work(job["id"])
    done = client.get(f"/api/jobs/{job['id']}").json()
    assert done["result"].items() >= {"files": 2, "created": 2}.items()
    listed = client.get("/api/conversations", params={"source": "workspace"}).json()
    assert sorted(row["title"] for row in listed["conversations"]) == ["docs/guide.md", "main.py"]
    assert client.get("/api/workspace/scan?index=true").json()["job"]["id"] != job["id"]


def test_no_page_elsewhere_starts_an_index(start: Start, folder: Path) -> None:
    client = start(WORKSPACE_DIR=str(folder), CORS_ORIGINS="https://mine.example")
    path = "/api/workspace/scan?index=true"
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    ):
        problem_of = client.get(path, headers=headers)
        assert problem_of.status_code == 403
        assert problem_of.json()["success"] is False
    assert factories.all_jobs() == []
    mine = {"sec-fetch-site": "cross-site", "origin": "https://mine.example"}
    assert client.get(path, headers=mine).json()["job"]["status"] == "queued"


def test_a_job_of_the_kind_is_not_for_clients(client: Client) -> None:
    assert fields(problem(client.post("/api/jobs", json={"kind": "workspace"}), 422))
