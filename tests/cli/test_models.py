"""`backchannel models`."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from config import voice_models
from config.catalogue import models_dir
from config.settings import get_settings, reset_settings
from storage import llm_defaults, users
from storage.database import reading, transaction
from storage.tables import LOCAL_OWNER
from tests.cli.conftest import Run, Start
from tests.cli.stand_in import StandIn
from tests.servers import free_port, wait_until

Json = dict[str, Any]

RESULT = {"name": "m-Q4_0", "bytes": 1_100_000_000, "sha256": "ab" * 32, "fetched_bytes": 1_100_000_000}
PULLING = [
    {"type": "started", "attempt": 1},
    {"type": "status", "status": "looking_up", "model": "o/r"},
    {"type": "progress", "done": 0, "total": 100, "unit": "bytes", "phase": "pulling"},
    {"type": "progress", "done": 100, "total": 100, "unit": "bytes", "phase": "pulling"},
]


def add_models(*names: str) -> Path:
    folder = models_dir(get_settings())
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"GGUF" * 500)
    return folder


def default(prompt_type: str = llm_defaults.CHAT) -> str | None:
    with reading() as session:
        return llm_defaults.resolve(session, LOCAL_OWNER, prompt_type)


@pytest.fixture
def nobody(settings: pytest.MonkeyPatch) -> str:
    """The address of a server that does not run."""
    settings.setenv("REDIS_URL", "unix:///nowhere/redis.sock")
    return f"http://127.0.0.1:{free_port()}"


# --- list


def listed(**local: Any) -> Json:
    model = {"id": "tiny", "status": "online", "state": "ready", "bytes": 2000, "repo": "o/r"} | local
    gemini = {"label": "Gemini", "configured": True, "status": "online", "available": [{"id": "gemini-x"}]}
    ollama = {"label": "Ollama", "configured": True, "status": "offline", "detail": "Ollama is away.", "available": []}
    openai = {"label": "OpenAI", "configured": False, "status": "offline", "available": [{"id": "gpt-x"}]}
    return {
        "success": True, "current_model": "tiny", "default_model": "tiny",
        "models": {"gemini": gemini, "ollama": ollama, "openai": openai, "local": {"available": [model]}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("local", "words"),
    [
        ({}, "loaded"),
        ({"state": "not_loaded"}, "on disk"),
        ({"state": "loading", "progress": 0.4}, "loading, 40 %"),
        ({"state": "failed", "detail": "It is broken.\x1b[2J"}, "failed: It is broken.[2J"),
        ({"state": "missing", "bytes": 0}, "missing"),
    ],
)
def test_list_with_a_server(stand_in: StandIn, run: Run, local: Json, words: str) -> None:
    stand_in.refusals.append(("GET /api/models", 200, listed(**local), {}))
    output = run("models", "list").stdout
    for word in ("tiny (default)", words, "o/r", "Gemini", "gemini-x", "Ollama is away.", "not set up"):
        assert word in output
    assert output.endswith("The house's model is tiny.\n")
    assert "\x1b" not in output


def test_list_as_json_is_the_servers_answer(stand_in: StandIn, run: Run) -> None:
    stand_in.refusals.append(("GET /api/models", 200, listed(), {}))
    assert json.loads(run("models", "list", "--json").stdout) == listed()


def test_list_without_a_server(nobody: str, run: Run, sqlite: str) -> None:
    add_models("a.gguf", "b.gguf")
    with transaction() as session:
        llm_defaults.choose(session, llm_defaults.CHAT, "local", "b")
    result = run("models", "list", "--url", nobody)
    assert result.exit_code == 0
    assert "does not run" in result.stderr
    for word in ("a ", "b (default)", "2.0 kB", "on disk", "Anthropic", "not set up", "claude-opus-4"):
        assert word in result.stdout
    found = json.loads(run("models", "list", "--url", nobody, "--json").stdout)
    assert [model["id"] for model in found["models"]["local"]["available"]] == ["a", "b"]
    assert found["default_model"] == "b"


def test_list_where_nothing_ever_ran(nobody: str, run: Run, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("GEMINI_API_KEY", "k")
    reset_settings()
    result = run("models", "list", "--url", nobody)
    assert "There is no local model yet" in result.stderr
    assert "The house's model is gemini-3.8-flash." in result.stdout
    assert not get_settings().data_dir.exists(), "looking changes nothing"


def test_another_answer_than_silence_is_an_error(stand_in: StandIn, run: Run) -> None:
    stand_in.refusals.append(("GET /api/models", 401, {"detail": "Sign in first.", "code": "unauthorized"}, {}))
    assert run("models", "list").exit_code == 1


# --- pull


def test_pull(stand_in: StandIn, run: Run) -> None:
    stand_in.scripts = [[*PULLING, {"type": "done", "response": RESULT}]]
    result = run("models", "pull", "o/r:Q4_0")
    assert result.exit_code == 0
    assert result.stdout == f"m-Q4_0 is here: 1.1 GB, SHA-256 {'ab' * 32}.\n"
    (asked,) = stand_in.asked("POST /api/jobs")
    assert asked.body == {"kind": "pull", "input": {"model": "o/r:Q4_0"}}


def test_pull_without_a_name_says_what_it_takes(stand_in: StandIn, run: Run, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("MODEL_PULL_DEFAULT", "owner/small:Q4_0")
    reset_settings()
    stand_in.scripts = [[*PULLING, {"type": "done", "response": RESULT | {"fetched_bytes": 0}}]]
    result = run("models", "pull")
    assert result.stderr == "Pulling owner/small:Q4_0, as MODEL_PULL_DEFAULT says.\n"
    assert "m-Q4_0 was here already" in result.stdout
    assert stand_in.asked("POST /api/jobs")[0].body["input"] == {"model": "owner/small:Q4_0"}


def test_pull_as_json(stand_in: StandIn, run: Run) -> None:
    stand_in.scripts = [[*PULLING, {"type": "done", "response": RESULT}]]
    assert json.loads(run("models", "pull", "o/r", "--json").stdout) == RESULT


def test_pull_the_voice(stand_in: StandIn, run: Run) -> None:
    parts = [{"part": "speaker", **RESULT, "name": "amy"}, {"part": "emotion", **RESULT, "fetched_bytes": 0}]
    result = {"name": "voice", "parts": parts, "bytes": 2_200_000_000, "fetched_bytes": 1_100_000_000}
    stand_in.scripts = [[*PULLING, {"type": "done", "response": result}]]
    done = run("models", "pull", "voice")
    assert done.stdout == (
        f"speaker amy is here: 1.1 GB, SHA-256 {'ab' * 32}.\n"
        f"emotion m-Q4_0 was here already: 1.1 GB, SHA-256 {'ab' * 32}.\n"
    )
    assert "when the server is started again" in done.stderr
    assert stand_in.asked("POST /api/jobs")[0].body["input"] == {"model": "voice"}


def test_parts_of_the_voice_are_listed_and_removed(nobody: str, run: Run) -> None:
    places = [voice_models.folder(get_settings(), part) for part in ("speaker", "emotion")]
    for place in places:
        place.mkdir(parents=True)
        (place / "amy.onnx").write_bytes(b"12" * 1_000)
        (place / "config.json").write_bytes(b"")
    (places[0] / voice_models.ORIGIN).write_text('{"name": "amy\x1b", "repo": "o/r"}'.replace("\x1b", "\\u001b"))
    output = run("models", "list", "--url", nobody).stdout
    for word in ("speaker", "amy", "2.0 kB", "o/r", "emotion"):
        assert word in output
    assert "\x1b" not in output
    places[0].with_name("speaker.part").mkdir()
    assert "2.0 kB are free again" in run("models", "remove", "voice:speaker", "--yes").stdout
    assert [path.name for path in places[0].parent.iterdir()] == ["emotion"]
    assert json.loads(run("models", "remove", "voice", "--yes", "--json").stdout)["files"] == [
        "amy.onnx",
        "config.json",
    ]
    assert "Nothing of voice was pulled" in run("models", "remove", "voice", "--yes").stderr


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"type": "error", "code": "insufficient_storage", "message": "The disk is full.", "retryable": False},
         "Error: The disk is full.\n"),
        ({"type": "cancelled"}, "Error: The pull was cancelled; what had come is kept.\n"),
    ],
)  # fmt: skip
def test_a_pull_that_fails(stand_in: StandIn, run: Run, end: Json, words: str) -> None:
    retrying = {"type": "status", "status": "retrying", "message": "The hub answered 503.", "retry_in_s": 1.2}
    stand_in.scripts = [[*PULLING, retrying, end]]
    result = run("models", "pull", "o/r")
    assert result.exit_code == 1
    assert result.stderr.endswith(words)
    assert "The hub answered 503. Trying again in 1 s." in result.stderr


def test_ctrl_c_leaves_the_pull(stand_in: StandIn, start: Start) -> None:
    stand_in.scripts = [PULLING[:3]]
    process = start("models", "pull", "o/r")
    wait_until(lambda: stand_in.asked("GET .*/events"), what="the command to listen")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "The pull goes on in the server" in stderr
    assert "Traceback" not in stderr
    assert not stand_in.asked("POST .*/cancel")


def test_pull_without_a_server(nobody: str, run: Run) -> None:
    result = run("models", "pull", "o/r", "--url", nobody)
    assert result.exit_code == 1
    assert "backchannel up" in result.stderr


# --- use


def test_use(sqlite: str, nobody: str, run: Run) -> None:
    add_models("a.gguf", "b.gguf")
    assert run("models", "use", "b").stdout == "b is the house's model for chat, from the next message on.\n"
    assert default() == "b"
    told = json.loads(run("models", "use", "extractive", "--for", "summary", "--json").stdout)
    assert told == {"kind": "summary", "provider": "extractive", "model": "extractive"}
    assert (default(), default("summary")) == ("b", "extractive")


def test_use_of_a_providers_model(sqlite: str, nobody: str, run: Run, settings: pytest.MonkeyPatch) -> None:
    refused = run("models", "use", "gpt-4o")
    assert (refused.exit_code, refused.stderr) == (1, "Error: GPT-4o is served by OpenAI: set OPENAI_API_KEY first.\n")
    settings.setenv("OPENAI_API_KEY", "k")
    settings.setenv("OLLAMA_URL", "http://127.0.0.1:1")
    reset_settings()
    for name, full in (("gpt-4o", "openai/gpt-4o"), ("ollama/llama3.1:8b", "ollama/llama3.1:8b")):
        assert run("models", "use", name).exit_code == 0
        assert default() == full


def test_use_of_nothing(sqlite: str, nobody: str, run: Run) -> None:
    add_models("a.gguf")
    result = run("models", "use", "z")
    assert result.exit_code == 1
    assert "There is no model 'z'. Local models: a;" in result.stderr
    assert default() is None


def test_use_before_anything_ran(nobody: str, settings: pytest.MonkeyPatch, run: Run) -> None:
    result = run("models", "use", "extractive")
    assert result.exit_code == 1
    assert "There is no database yet" in result.stderr
    assert not get_settings().data_dir.exists()


# --- remove


def test_remove(sqlite: str, run: Run) -> None:
    folder = add_models("a.gguf", "a.gguf.json", "a-2.gguf", "b.gguf")
    with transaction() as session:
        llm_defaults.choose(session, llm_defaults.CHAT, "local", "a")
        users.set_model(session, LOCAL_OWNER, "a")
    kept = run("models", "remove", "a", input="n\n")
    assert kept.exit_code == 130 or kept.exit_code == 1
    assert (folder / "a.gguf").exists()
    result = run("models", "remove", "a", input="y\n")
    assert result.exit_code == 0
    assert "a is the house's model" in result.stderr
    assert result.stdout == "Removed a: 4.0 kB are free again.\n"
    assert sorted(path.name for path in folder.iterdir()) == ["a-2.gguf", "b.gguf"]
    assert default() is None


def test_remove_without_asking(sqlite: str, run: Run) -> None:
    add_models("a.gguf")
    told = json.loads(run("models", "remove", "a", "--yes", "--json").stdout)
    assert told == {"removed": "a", "files": ["a.gguf"], "bytes": 2000, "was_default_for": []}


def test_remove_takes_all_parts_and_what_had_come(sqlite: str, run: Run) -> None:
    folder = add_models("m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "m-00002-of-00002.gguf.json", "m.gguf")
    add_models("half.gguf.part", "half.gguf.part.json")
    assert run("models", "remove", "m-00001-of-00002", "--yes").exit_code == 0
    assert run("models", "remove", "half", "--yes").exit_code == 0
    assert [path.name for path in folder.iterdir()] == ["m.gguf"]


def test_what_lies_elsewhere_is_not_ours_to_remove(
    sqlite: str, run: Run, settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF")
    settings.setenv("MODEL_PATH", str(own))
    reset_settings()
    result = run("models", "remove", "own", "--yes")
    assert result.exit_code == 1
    assert "remove it yourself" in result.stderr
    assert own.exists()


@pytest.mark.parametrize("name", ["z", "../a", "*", "", "a.gguf"])
def test_remove_of_nothing(sqlite: str, run: Run, name: str) -> None:
    folder = add_models("a.gguf")
    (folder.parent / "a.gguf").write_bytes(b"GGUF")
    result = run("models", "remove", name, "--yes")
    assert result.exit_code == 1
    assert "there are: a." in result.stderr
    assert (folder / "a.gguf").exists()
    assert (folder.parent / "a.gguf").exists()


def test_help(run: Run) -> None:
    output = run("models").output
    for word in ("list", "pull", "use", "remove"):
        assert word in output
