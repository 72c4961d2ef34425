"""What a worker does around its tasks: models loaded beside the consumer, and everybody told how they are."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from config.errors import ModelUnavailable
from config.settings import reset_settings
from storage import presence
from storage.presence import WorkerPresence
from tasks import worker
from tasks.leases import Leases
from tests.gguf_model import make_tiny_model
from tests.servers import wait_until
from workers import registry

pytestmark = pytest.mark.usefixtures("clean_redis")


@pytest.fixture
def generate(settings: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Leases]:
    """The leases of a generate worker, not started."""
    for name in ("_residents", "_remotes", "_extractive"):
        settings.setattr(registry, name, None)
    settings.setenv("DATA_DIR", str(tmp_path))
    settings.setenv("MODEL_N_CTX", "512")
    settings.setenv("MODEL_N_THREADS", "1")
    reset_settings()
    leases = Leases(WorkerPresence(name="generate", queues=["chat", "summarize"], slots=4))
    settings.setattr(worker, "_leases", leases)
    yield leases
    leases.stopping.set()
    for thread in threading.enumerate():
        if thread.name == "servers":
            thread.join(20)
    registry.close()


def told() -> WorkerPresence:
    (found,) = presence.present()
    return found


def test_a_worker_without_a_model_is_ready_with_the_answerer(generate: Leases) -> None:
    worker._load_models()
    assert told().state == "ready"
    assert told().models == {
        "language": {"name": "extractive", "provider": "extractive", "state": "ready"},
        "resident": [],
    }
    assert told().engine == {}


def test_what_is_loaded_is_no_work_for_the_collector_any_more(generate: Leases) -> None:
    gc.unfreeze()
    worker._load_models()
    try:
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()


def test_the_default_model_is_loaded_and_told_with_its_engine(
    generate: Leases, settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.setenv("MODEL_PATH", str(make_tiny_model(tmp_path / "tiny.gguf")))
    reset_settings()
    worker._load_models()
    language = told().models["language"]
    assert (language["name"], language["state"], language["context_tokens"]) == ("tiny", "ready", 512)
    assert told().models["resident"] == [language]
    engine = told().engine
    assert (engine["slots"], engine["running"], engine["waiting"], engine["jobs"]) == (8, 0, 0, {})
    assert engine["answer_s"] is None


def test_a_load_is_told_while_it_goes_on(generate: Leases, settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings.setenv("MODEL_PATH", str(make_tiny_model(tmp_path / "tiny.gguf")))
    reset_settings()
    seen, loader = [], type(registry._local_models()._loader)
    load = loader.load

    def watched(self: object, name: str, cache_bytes: int, progress: object) -> object:
        progress(0.42)  # type: ignore[operator]
        generate.tell()
        seen.append(told().models["language"])
        return load(self, name, cache_bytes, progress)  # type: ignore[arg-type]

    settings.setattr(loader, "load", watched)
    worker._load_models()
    assert seen == [{"name": "tiny", "provider": "local", "state": "loading", "progress": 0.42}]


def test_a_broken_model_leaves_the_worker_ready_and_says_why(
    generate: Leases, settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(50))
    settings.setenv("MODEL_PATH", str(tmp_path / "broken.gguf"))
    reset_settings()
    worker._load_models()
    assert told().state == "ready"
    language = told().models["language"]
    assert language["state"] == "failed"
    assert language["detail"].startswith("The model broken cannot be loaded")


def test_a_worker_that_cannot_say_how_its_models_are_still_reports(
    generate: Leases, settings: pytest.MonkeyPatch
) -> None:
    worker._load_models()
    settings.setattr(registry, "engine_stats", lambda: 1 / 0)
    generate.tell()
    assert told().state == "ready"


def test_an_index_worker_tells_its_embedder(generate: Leases, sqlite: str, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("EMBEDDING_BACKEND", "hashing")
    reset_settings()
    settings.setattr(registry, "_embedder", None)
    generate.me.queues = ["embed", "search"]
    worker._load_models()
    assert told().models == {"embedding": {"name": registry.embedder().name, "state": "ready"}}


def test_a_failed_embedder_is_told(generate: Leases, settings: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ModelUnavailable("The embedding model cannot be loaded.")

    settings.setattr(registry, "embedder", broken)
    generate.me.queues = ["embed", "search"]
    worker._load_models()
    failed = {"name": "default", "state": "failed", "detail": "The embedding model cannot be loaded."}
    assert told().models == {"embedding": failed}


class Ollama(BaseHTTPRequestHandler):
    """The two answers of an Ollama server that tell which models it has."""

    def do_GET(self) -> None:
        self._send({"models": [{"model": "llama3:8b"}]} if self.path == "/api/tags" else {})

    def do_POST(self) -> None:
        self._send(
            {
                "capabilities": ["completion"],
                "model_info": {"general.architecture": "llama", "llama.context_length": 4096},
            }
        )

    def _send(self, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def test_servers_that_list_their_models_are_asked_again_and_again(
    generate: Leases, settings: pytest.MonkeyPatch
) -> None:
    settings.setattr(worker, "ASK_SERVERS_S", 0.02)
    with ThreadingHTTPServer(("127.0.0.1", 0), Ollama) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        settings.setenv("OLLAMA_URL", f"http://127.0.0.1:{server.server_port}")
        reset_settings()
        worker._load_models()
        wait_until(lambda: generate.me.providers, what="the server's models")
        generate.tell()
        assert told().providers["ollama"]["status"] == "online"
        (model,) = told().providers["ollama"]["models"]
        assert (model["id"], model["context_tokens"]) == ("llama3:8b", 4096)
        server.shutdown()
    wait_until(lambda: generate.me.providers["ollama"]["status"] == "offline", what="the server is missed")
    assert generate.me.providers["ollama"]["detail"]


def test_without_such_a_server_nobody_asks(generate: Leases) -> None:
    worker._load_models()
    assert "servers" not in {thread.name for thread in threading.enumerate()}
