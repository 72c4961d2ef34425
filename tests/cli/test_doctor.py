"""`backchannel doctor` where nothing runs, and where something is broken."""

from __future__ import annotations

import importlib.util
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import checks
from cli.checks import Check
from cli.doctor import _workers
from cli.main import cli
from config.queues import WORKERS
from config.settings import reset_settings
from tests.servers import free_port


@pytest.fixture
def machine(settings: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Nothing is set but DATA_DIR and ports."""
    settings.delenv("REDIS_URL")
    settings.delenv("BACKCHANNEL_URL", raising=False)
    settings.setenv("PORT", str(free_port()))
    settings.setenv("FLOWER_PORT", str(free_port()))
    settings.chdir(tmp_path)
    reset_settings()
    return settings


def diagnose() -> tuple[int, dict[str, dict[str, Any]]]:
    reset_settings()
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, {check["part"]: check for check in json.loads(result.output)["checks"]}


def test_nothing_runs_and_nothing_is_broken(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, found = diagnose()
    assert code == 0
    assert {part for part, check in found.items() if check["state"] == "broken"} == set()
    for part in ("redis", "chroma", "web", "workers"):
        assert found[part]["found"] == "not running: start with make run"
    assert "MODEL_PATH" in found["model"]["mend"]
    assert found["embeddings"]["state"] == "ok"
    assert not (tmp_path / "data" / "backchannel.db").exists(), "looking changes nothing"


def test_people_get_words(machine: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(cli, ["doctor"])
    assert result.exit_code == 0
    assert "not running: start with make run" in result.output


def test_a_bad_setting_is_a_finding(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("PORT", "eighty")
    code, found = diagnose()
    assert code == 1
    assert found["settings"]["state"] == "broken"
    assert found["settings"]["found"].startswith("PORT: ")


def test_every_broken_part_says_how_to_mend_it(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"<html>not found</html>")
    machine.setenv("MODEL_PATH", str(tmp_path / "model.gguf"))
    machine.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    machine.setenv("CHROMA_URL", f"http://127.0.0.1:{free_port()}")
    machine.setenv("DATABASE_URL", f"postgresql://me:secret@127.0.0.1:{free_port()}/db")
    code, found = diagnose()
    assert code == 1
    for part in ("model", "redis", "chroma", "database"):
        assert found[part]["state"] == "broken"
        assert found[part]["mend"]
    assert "secret" not in json.dumps(found)


def test_a_taken_port_is_found(machine: pytest.MonkeyPatch) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        machine.setenv("PORT", str(squatter.getsockname()[1]))
        code, found = diagnose()
    assert code == 1
    assert found["port"]["state"] == "broken"


def test_a_server_that_was_named_and_does_not_answer_is_broken(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("BACKCHANNEL_URL", f"http://127.0.0.1:{free_port()}")
    code, found = diagnose()
    assert code == 1
    assert found["web"]["state"] == "broken"


def test_workers_are_told_apart() -> None:
    first, second, *rest = WORKERS
    failed = {"name": "m", "state": "failed", "detail": "It is no model."}
    present = [
        {"name": first, "state": "ready", "models": {"language": failed}},
        {"name": second, "state": "loading", "models": {}},
    ]
    states = {check.part: check for check in _workers({"workers": present})}
    assert states[first].state == "broken"
    assert "It is no model." in states[first].found
    assert states[second].state == "info"
    assert {states[name].state for name in rest} == {"broken"}


def test_a_check_that_fails_is_a_finding_too() -> None:
    def fail() -> Check:
        raise RuntimeError("first line\nsecond line")

    check = checks.guarded("part", fail)
    assert (check.state, check.found) == ("broken", "could not be checked: RuntimeError: first line")


def add_model(tmp_path: Path, name: str, content: bytes = b"GGUF" + bytes(100)) -> None:
    folder = tmp_path / "data" / "models"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def test_pulled_models_are_found_and_looked_at(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_model(tmp_path, "tiny.gguf")
    assert diagnose()[1]["model"]["found"] == "tiny: 0.0 GB"
    add_model(tmp_path, "broken.gguf", b"<html>")
    code, found = diagnose()
    assert code == 1
    assert found["model"]["found"] == "broken.gguf is no GGUF file"
    assert "models remove broken" in found["model"]["mend"]


def test_a_model_that_is_still_to_be_pulled(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setenv("MODEL_REPO", "owner/repo")
    add_model(tmp_path, "m.gguf.part")
    code, found = diagnose()
    assert code == 0
    assert found["model"]["found"] == "owner/repo is not here yet"
    assert found["pulls"]["found"] == "1 not ended, 0.0 GB on disk: m"


def add_part(tmp_path: Path, folder: str, **files: int) -> None:
    place = tmp_path / "data" / "models" / "voice" / folder
    place.mkdir(parents=True)
    for name, size in files.items():
        with (place / name).open("wb") as file:
            file.truncate(size)  # takes no room


def test_parts_of_the_voice_that_are_still_to_be_pulled(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_part(tmp_path, "speaker.part", voice=3 << 30)
    _, found = diagnose()
    assert (found["pulls"]["state"], found["pulls"]["found"]) == ("info", "1 not ended, 3.0 GB on disk: voice:speaker")
    mend = (
        "pull it again to go on: backchannel models pull voice:speaker, or run: backchannel models remove voice:speaker"
    )
    assert found["pulls"]["mend"] == mend
    add_model(tmp_path, "m.gguf.part")
    assert diagnose()[1]["pulls"]["found"] == "2 not ended, 3.0 GB on disk: m …"


def test_a_part_that_serves_is_not_to_be_removed_with_what_should_replace_it(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_part(tmp_path, "transcriber", **{"model.bin": 1})
    add_part(tmp_path, "transcriber.part")
    _, found = diagnose()
    assert found["pulls"]["found"] == "1 not ended, 0.0 GB on disk: voice:transcriber"
    assert found["pulls"]["mend"] == "pull it again to go on: backchannel models pull voice:transcriber"


def test_a_provider_is_a_model_too(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("ANTHROPIC_API_KEY", "sk-secret")
    _, found = diagnose()
    assert found["model"]["found"] == "none here; set up: Anthropic"
    assert "sk-secret" not in json.dumps(found)


def test_a_models_file_that_cannot_be_used(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setenv("MODELS_FILE", str(tmp_path / "models.toml"))
    (tmp_path / "models.toml").write_text("[openai.models.x]\ncontext_tokens = 0")
    code, found = diagnose()
    assert code == 1
    assert "openai.models.x.context_tokens" in found["models file"]["found"]
    (tmp_path / "models.toml").write_text("[openai.models.x]")
    assert diagnose()[1]["models file"]["state"] == "ok"


def test_a_list_of_resident_models_is_no_trouble() -> None:
    name, *_ = WORKERS
    models = {"language": {"name": "a", "state": "ready"}, "resident": [{"name": "a"}, {"name": "b"}]}
    (check, *_) = _workers({"workers": [{"name": name, "state": "ready", "models": models}]})
    assert (check.state, check.found) == ("ok", "ready with a")


READY = {"state": "ready"}


def voice_worker(speaker: dict[str, Any], transcriber: dict[str, Any] | None = None) -> dict[str, Check]:
    models = {
        "transcriber": transcriber or {"name": "pocketsphinx", **READY},
        "speaker": speaker,
        "voice_activity": {"name": "silero", **READY},
    }
    return {check.part: check for check in _workers({"workers": [{"name": "voice", **READY, "models": models}]})}


def test_what_the_parts_of_the_voice_serve() -> None:
    found = voice_worker({"name": "espeak-ng", **READY, "voices": ["en"]})
    told = "ready with transcriber pocketsphinx, speaker espeak-ng, voice activity silero"
    assert (found["voice"].state, found["voice"].found) == ("ok", told)
    assert "speaker" not in found


@pytest.mark.parametrize(
    ("choice", "module", "package"),
    [
        ("auto", "espeakng_loader", "espeakng-loader"),
        ("espeak", "espeakng_loader", "espeakng-loader"),
        ("piper", "piper", "piper-tts"),
        ("kokoro", "kokoro_onnx", "kokoro-onnx"),
    ],
)
def test_without_a_speaker_it_is_told_what_to_install(
    settings: pytest.MonkeyPatch, choice: str, module: str, package: str
) -> None:
    there = importlib.util.find_spec
    settings.setattr(importlib.util, "find_spec", lambda name: None if name == module else there(name))
    settings.setenv("VOICE_SPEAKER", choice)
    reset_settings()
    found = voice_worker({"name": "default", "state": "failed", "detail": "It is not installed."})
    assert (found["voice"].state, found["voice"].found) == (
        "ok", "ready with transcriber pocketsphinx, voice activity silero"
    )  # fmt: skip
    assert found["speaker"] == Check(
        "speaker",
        "info",
        "answers come in writing only: It is not installed.",
        f"to hear them: .venv/bin/pip install {package}, and start the voice worker anew",
    )


def test_a_speaker_that_is_installed_and_broken(settings: pytest.MonkeyPatch) -> None:
    settings.setattr(importlib.util, "find_spec", lambda name: object())
    found = voice_worker({"name": "default", "state": "failed", "detail": "It is broken."})
    assert "log" in found["speaker"].mend


def test_without_ears_the_voice_is_broken() -> None:
    deaf = {"name": "default", "state": "failed", "detail": "No ears."}
    found = voice_worker({"name": "default", "state": "failed", "detail": "No mouth."}, deaf)
    assert (found["voice"].state, found["voice"].found) == ("broken", "a model could not be loaded: No ears.")
    assert "VOICE_ENABLED=false" in found["voice"].mend
    assert found["speaker"].state == "info"
