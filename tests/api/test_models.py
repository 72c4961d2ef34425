"""/api/models and its switch as FAITHH has them, and what admins see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from config import voice_models
from config.catalogue import models_dir, origin_file
from config.queues import Kind
from config.settings import get_settings
from storage import llm_defaults, presence
from storage.database import transaction
from storage.presence import WorkerPresence
from storage.tables import LOCAL_OWNER, User
from tests import factories
from tests.api.conftest import Start
from tests.api.helpers import faithh_problem, job_ids, problem, work

Client = TestClient[Litestar]
Json = dict[str, Any]

OLLAMA = {"status": "online", "models": [{"id": "llama3.1-8b", "name": "Llama 3.1 8B", "context_tokens": 131_072}]}


def worker(**told: Any) -> None:
    """What the generate worker last said."""
    fields: Json = {"models": {"language": {"name": "extractive", "state": "ready"}, "resident": []}} | told
    presence.report(WorkerPresence("generate", ["chat"], slots=3, state="ready", **fields))


def add_model(name: str, size: int = 4) -> Path:
    path = models_dir(get_settings()) / f"{name}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF".ljust(size, b"\0"))
    return path


def switch(client: Client, model_id: object) -> Json:
    response = client.post("/api/models/switch", json={"model_id": model_id})
    assert response.status_code == 200, response.text
    body: Json = response.json()
    assert body["success"] is True
    assert body["current_model"].keys() == {"name", "provider", "last_response_time", "last_tokens"}
    return body["current_model"]


def asked(client: Client, **given: Any) -> str | None:
    """The model that the next chat's job asks for."""
    job = client.post("/api/jobs", json={"kind": "chat", "input": {"message": "Hi", "use_rag": False, **given}}).json()
    model: str | None = factories.load(job["id"]).input.get("model")
    return model


# --- the list


def test_the_list_has_the_seeds_shape(client: Client) -> None:
    worker()
    body = client.get("/api/models").json()
    assert body["success"] is True
    assert body["current_model"] == "extractive"
    assert body["models"].keys() == {
        "gemini", "ollama", "openai", "anthropic", "xai", "compatible", "local", "extractive",
    }  # fmt: skip
    gemini = body["models"]["gemini"]
    assert gemini["default"] == "gemini-3.8-flash"
    first = gemini["available"][0]
    assert first == {
        "id": "gemini-2.0-flash-exp",
        "name": "Gemini 2.0 Flash",
        "status": "offline",
        "context_tokens": 1_048_576,
        "abilities": ["json_schema", "pdf", "tools", "vision"],
    }
    assert (body["models"]["ollama"]["available"], body["models"]["ollama"]["status"]) == ([], "offline")
    for provider in body["models"].values():
        assert provider["status"] in ("online", "offline", "loading")
        for model in provider["available"]:
            assert {"id", "name", "status", "context_tokens", "abilities"} <= model.keys()


def test_a_key_brings_a_provider_online(start: Start) -> None:
    client = start(GEMINI_API_KEY="secret-key")
    response = client.get("/api/models")
    models = response.json()["models"]
    assert {model["status"] for model in models["gemini"]["available"]} == {"online"}
    assert (models["gemini"]["status"], models["openai"]["status"]) == ("online", "offline")
    assert "secret-key" not in response.text
    assert response.json()["current_model"] == "gemini-3.8-flash"


def test_a_server_is_online_when_it_answered(start: Start) -> None:
    client = start(OLLAMA_URL="http://127.0.0.1:1")
    ollama = client.get("/api/models").json()["models"]["ollama"]
    assert (ollama["status"], ollama["available"]) == ("offline", [])
    worker(providers={"ollama": OLLAMA})
    ollama = client.get("/api/models").json()["models"]["ollama"]
    assert ollama["status"] == "online"
    (model,) = ollama["available"]
    assert model | {"abilities": []} == {
        "id": "llama3.1-8b", "name": "Llama 3.1 8B", "status": "online", "context_tokens": 131_072, "abilities": [],
    }  # fmt: skip
    worker(providers={"ollama": {"status": "offline", "models": [], "detail": "Ollama does not answer."}})
    ollama = client.get("/api/models").json()["models"]["ollama"]
    assert (ollama["status"], ollama["detail"]) == ("offline", "Ollama does not answer.")


@pytest.mark.parametrize(
    ("resident", "status", "more"),
    [
        ([], "online", {"state": "not_loaded"}),
        ([{"name": "tiny", "state": "ready", "users": 1}], "online", {"state": "ready"}),
        ([{"name": "tiny", "state": "loading", "progress": 0.4}], "loading", {"state": "loading", "progress": 0.4}),
        ([{"name": "tiny", "state": "failed", "detail": "No."}], "offline", {"state": "failed", "detail": "No."}),
    ],
)
def test_a_local_model_is_as_the_worker_says(client: Client, resident: list[Json], status: str, more: Json) -> None:
    path = add_model("tiny", 1000)
    origin_file(path).write_text('{"repo": "owner/repo"}')
    worker(models={"language": {"name": "other", "state": "ready"}, "resident": resident})
    response = client.get("/api/models")
    (model,) = response.json()["models"]["local"]["available"]
    assert model == {
        "id": "tiny", "name": "tiny", "status": status, "context_tokens": None, "bytes": 1000, "repo": "owner/repo",
        "abilities": ["grammar", "json_schema", "tools"], **more,
    }  # fmt: skip
    assert str(path.parent) not in response.text


def test_the_default_models_own_word_counts(client: Client) -> None:
    add_model("tiny")
    worker(models={"language": {"name": "tiny", "state": "failed", "detail": "Broken."}, "resident": []})
    local = client.get("/api/models").json()["models"]["local"]
    assert (local["status"], local["available"][0]["detail"]) == ("offline", "Broken.")


def test_nothing_local_is_online_without_a_worker(client: Client) -> None:
    add_model("tiny")
    body = client.get("/api/models").json()
    assert body["models"]["local"]["status"] == body["models"]["extractive"]["status"] == "offline"
    assert body["current_model"] == "tiny"


def test_a_file_that_is_gone_is_told(start: Start, tmp_path: Path) -> None:
    client = start(MODEL_PATH=str(tmp_path / "gone.gguf"))
    worker()
    (model,) = client.get("/api/models").json()["models"]["local"]["available"]
    assert (model["id"], model["status"], model["state"], model["bytes"]) == ("gone", "offline", "missing", 0)


def test_the_list_asks_nobody_else(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    connect = socket.socket.connect

    def only_unix(self: socket.socket, address: Any) -> None:
        assert isinstance(address, str), "a server was asked"
        connect(self, address)

    worker(providers={"ollama": OLLAMA})
    monkeypatch.setattr(socket.socket, "connect", only_unix)
    assert client.get("/api/models").status_code == 200


def test_without_redis_the_list_is_from_settings_and_disk(start: Start, settings: pytest.MonkeyPatch) -> None:
    from storage.connections import close_clients

    settings.setenv("REDIS_URL", "unix:///nowhere/redis.sock")
    close_clients()
    client = start(LOG_LEVEL="ERROR")
    add_model("tiny")
    assert client.get("/api/models").json()["models"]["local"]["available"][0]["id"] == "tiny"


# --- switching


def test_the_next_message_is_for_the_chosen_model(client: Client) -> None:
    add_model("tiny")
    assert asked(client) is None
    assert switch(client, "tiny") == {"name": "tiny", "provider": "local", "last_response_time": 0.0, "last_tokens": 0}
    assert asked(client) == "tiny"
    assert asked(client, model="extractive") == "extractive", "what a request names wins"
    assert client.get("/api/models").json()["current_model"] == "tiny"


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_nothing_goes_back_to_the_house(client: Client, nothing: str | None) -> None:
    add_model("tiny")
    switch(client, "tiny")
    with transaction() as session:
        llm_defaults.choose(session, llm_defaults.CHAT, "extractive", "extractive")
    assert switch(client, nothing)["name"] == "extractive"
    assert asked(client) == "extractive"


def test_the_answerer_without_a_model_can_be_chosen(client: Client) -> None:
    add_model("tiny")
    assert switch(client, "extractive")["provider"] == "extractive"
    assert asked(client) == "extractive"


def test_remote_models(start: Start) -> None:
    client = start(OPENAI_API_KEY="sk", OLLAMA_URL="http://127.0.0.1:1")
    assert switch(client, "gpt-4o") | {"name": ""} == {
        "name": "", "provider": "openai", "last_response_time": 0.0, "last_tokens": 0,
    }  # fmt: skip
    assert asked(client) == "openai/gpt-4o"
    assert client.get("/api/models").json()["current_model"] == "gpt-4o"
    assert switch(client, "ollama/not-heard-of-yet")["name"] == "not-heard-of-yet"
    worker(providers={"ollama": OLLAMA})
    assert switch(client, "llama3.1-8b")["provider"] == "ollama"
    assert asked(client) == "ollama/llama3.1-8b"
    faithh_problem_of(client, "ollama/other", 404)


def faithh_problem_of(client: Client, model_id: str, status: int) -> Json:
    response = client.post("/api/models/switch", json={"model_id": model_id})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body: Json = response.json()
    assert body["success"] is False
    assert body["error"] == body["detail"]
    return body


@pytest.mark.parametrize("model_id", ["gpt-99", "../../etc/passwd", "local/", "xai/gpt-4o", "ollama/x/y", "é" * 100])
def test_an_unknown_model_is_the_seeds_error(start: Start, model_id: str) -> None:
    client = start(OLLAMA_URL="http://127.0.0.1:1")
    worker(providers={"ollama": OLLAMA})
    assert faithh_problem_of(client, model_id, 404)["error"] == "Model not found"
    assert client.get("/api/models").json()["current_model"] == "extractive"


def test_a_provider_that_is_not_set_up_says_what_is_missing(client: Client) -> None:
    body = faithh_problem(client.post("/api/models/switch", json={"model_id": "claude-opus-4"}), 409)
    assert body["error"] == ("Claude Opus 4 is served by Anthropic, which is not set up here: set ANTHROPIC_API_KEY.")
    assert "OLLAMA_URL" in faithh_problem_of(client, "ollama/llama3", 409)["error"]


@pytest.mark.parametrize(
    "body", [{"model_id": 5}, {"model_id": "x" * 201}, {"model": "tiny"}, {"model_id": "a\0b"}, []]
)
def test_what_cannot_be_a_model(client: Client, body: Any) -> None:
    faithh_problem(client.post("/api/models/switch", json=body), 422)


def test_the_switch_is_one_persons(client: Client) -> None:
    other = factories.owner()
    add_model("tiny")
    switch(client, "tiny")
    with transaction() as session:
        assert (session.get(User, LOCAL_OWNER).model, session.get(User, other).model) == ("tiny", None)  # type: ignore[union-attr]


def test_the_last_answer_is_told(client: Client) -> None:
    asked(client, model="extractive")
    (job_id,) = job_ids("chat")
    work(job_id)
    result = factories.load(job_id).result
    assert result is not None
    current = switch(client, "extractive")
    assert current["last_tokens"] == result["completion_tokens"] > 0
    assert current["last_response_time"] == round(result["response_ms"] / 1000, 3)


def test_a_model_that_cannot_be_loaded_is_a_sentence_in_the_answer(client: Client, settings: Any) -> None:
    add_model("broken", 1000)
    switch(client, "broken")
    settings.setattr("storage.jobs.backoff_s", lambda _failures: 0.0)
    asked(client)
    (job_id,) = job_ids("chat")
    while factories.load(job_id).status == "queued":
        work(job_id)
    error = factories.load(job_id).error
    assert error is not None
    assert error["code"] == "model_unavailable"
    assert "broken" in error["message"]


def test_parts_of_the_voice_are_listed(client: Client) -> None:
    assert client.get("/api/models").json()["voice"] == []
    place = voice_models.folder(get_settings(), "speaker")
    place.mkdir(parents=True)
    (place / "amy.onnx").write_bytes(b"1234")
    assert client.get("/api/models").json()["voice"] == [
        {"part": "speaker", "name": "speaker", "repo": None, "bytes": 4}
    ]
    (place / voice_models.ORIGIN).write_text('{"name": "amy", "repo": "o/r"}')
    (told,) = client.get("/api/models").json()["voice"]
    assert (told["name"], told["repo"]) == ("amy", "o/r")


# --- pulling, for who may


def test_a_pull_is_one_at_a_time(client: Client) -> None:
    for model in ("o/r", "o/r:Q8_0", "", "voice", "voice:speaker"):
        response = client.post("/api/jobs", json={"kind": "pull", "input": {"model": model}})
        assert response.status_code == 202
    assert {job.serial_key for job in factories.all_jobs(Kind.PULL)} == {"pull"}


def test_who_is_no_admin_is_refused(client: Client) -> None:
    with transaction() as session:
        session.get(User, LOCAL_OWNER).role = "user"  # type: ignore[union-attr]
    body = problem(client.post("/api/jobs", json={"kind": "pull", "input": {}}), 403)
    assert body["detail"] == "Only an admin may pull models."
    assert factories.all_jobs() == []


@pytest.mark.parametrize("model", ["x", "https://host/o/r", "o/r?x", "o/r:a b", "voices", "voice:", "voice:x"])
def test_what_is_no_name_on_the_hub(client: Client, model: str) -> None:
    problem(client.post("/api/jobs", json={"kind": "pull", "input": {"model": model}}), 422)


# --- /admin/model/info


def test_what_an_admin_sees(start: Start) -> None:
    client = start(MODEL_N_CTX="2048", MODEL_KV_TYPE="q8_0")
    path = add_model("tiny", 5000)
    origin_file(path).write_text('{"repo": "owner/repo", "sha256": "ab", "reference": "owner/repo"}')
    tiny = {"name": "tiny", "state": "ready", "users": 2, "memory_mb": 10}
    engine = {"slots": 4, "running": 2, "tokens_per_second": 9.5, "jobs": {"some-id": [1, 2.0]}}
    worker(models={"language": tiny, "resident": [tiny]}, engine=engine)
    response = client.get("/admin/model/info")
    body = response.json()
    assert (body["name"], body["provider"], body["state"]) == ("tiny", "local", "ready")
    assert body["file"] == {
        "name": "tiny.gguf", "bytes": 5000, "repo": "owner/repo", "revision": None, "sha256": "ab",
    }  # fmt: skip
    assert body["configured"] | {"context_tokens": 0} == {
        "context_tokens": 0, "slots": 8, "threads": None, "gpu_layers": -1, "cache_mb": 4096, "disk_cache_mb": 1024,
        "memory_mb": None, "kv_type": "q8_0", "flash_attention": "auto", "max_tokens": 1024,
    }  # fmt: skip
    assert body["configured"]["context_tokens"] == 2048
    assert body["resident"] == [tiny]
    assert body["engine"] == {"slots": 4, "running": 2, "tokens_per_second": 9.5}
    assert str(path.parent) not in response.text


def test_without_a_model_and_without_workers_there_is_still_an_answer(client: Client) -> None:
    body = client.get("/admin/model/info").json()
    assert (body["name"], body["provider"], body["file"], body["resident"]) == ("extractive", "extractive", None, [])


def test_only_admins_see_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from api import auth, callers

    monkeypatch.setattr(auth, "OWNER", callers.Caller(LOCAL_OWNER, "user"))
    problem(client.get("/admin/model/info"), 403)


# --- /api/status


def test_the_status_has_the_seeds_services(start: Start) -> None:
    client = start(OLLAMA_URL="http://127.0.0.1:1", GEMINI_API_KEY="k")
    worker(providers={"ollama": OLLAMA})
    services = client.get("/api/status").json()["services"]
    assert services["gemini"] == {"status": "online", "model": "gemini-3.8-flash", "rate_limit": None}
    assert services["ollama"] == {"status": "online", "models": ["llama3.1-8b"], "count": 1}


# --- the seed's own lines


def test_the_seeds_curl_lines(listen: Callable[..., Any], tmp_path: Path) -> None:
    """Seed 000, "Test Models", host and port aside."""
    import json
    import shutil
    import subprocess

    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    live = listen(OLLAMA_URL="http://127.0.0.1:1")
    address = f"http://localhost:{live.port}"
    worker(providers={"ollama": OLLAMA})

    def curl(*arguments: str) -> Json:
        argv = ["curl", "--silent", "--noproxy", "*", *arguments]
        told: Json = json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=20).stdout)
        return told

    listed = curl(f"{address}/api/models")
    assert listed["success"] is True
    assert [model["id"] for model in listed["models"]["ollama"]["available"]] == ["llama3.1-8b"]
    switched = curl(
        "-X", "POST", f"{address}/api/models/switch", "-H", "Content-Type: application/json",
        "-d", '{"model_id":"llama3.1-8b"}',
    )  # fmt: skip
    assert switched["success"] is True
    assert switched["current_model"]["name"] == "llama3.1-8b"
    assert curl(f"{address}/api/models")["current_model"] == "llama3.1-8b"
