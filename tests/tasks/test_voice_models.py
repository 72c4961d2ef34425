"""Pulling the models of the voice: parts in their folders, one sentence where there is no hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from config import voice_models
from config.queues import Kind
from config.settings import get_settings, reset_settings
from storage import llm_defaults
from storage.connections import redis_client
from storage.database import reading
from storage.events import EventLog
from storage.tables import LOCAL_OWNER, Job
from tasks import models
from tasks.base import run_job
from tests import factories
from tests.servers import free_port
from tests.standins.hub_server import HubServer, hub_server

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")

WHISPER, VOICES, ROBERTA = "o/whisper-tiny", "o/voices", "o/roberta"
REPOS = {
    WHISPER: {"model.bin": b"w" * 200_000, "config.json": b"{}", "tokenizer.json": b"{} "},
    VOICES: {"en/amy/amy.onnx": b"v" * 100_000, "en/amy/amy.onnx.json": b"{}", "en/bob/bob.onnx": b"x"},
    ROBERTA: {"pytorch_model.bin": b"e" * 150_000, "config.json": b"{}", "vocab.json": b"{}", "tokenizer.json": b"{}"},
}


@pytest.fixture(autouse=True)
def hub(settings: pytest.MonkeyPatch, sqlite: str) -> Iterator[HubServer]:
    with hub_server(repos={name: dict(files) for name, files in REPOS.items()}) as server:
        settings.setenv("HUB_URL", server.url)
        settings.setenv("VOICE_TRANSCRIBER_REPO", WHISPER)
        settings.setenv("VOICE_SPEAKER_REPO", f"{VOICES}/en/amy")
        settings.setenv("VOICE_EMOTION_REPO", ROBERTA)
        settings.setenv("RETRY_BASE_S", "0")
        settings.setattr(models, "TOLD_EVERY_S", 0.0)
        reset_settings()
        yield server


def pulled(model: str = "voice") -> Job:
    job_id = factories.job(Kind.PULL, input={"model": model}, serial_key="pull")
    run_job(job_id)
    return factories.load(job_id)


def events(job_id: str) -> list[dict[str, Any]]:
    return [orjson.loads(event.json) for event in EventLog(redis_client()).read(job_id)]


def parts_here() -> list[str]:
    return [part["part"] for part in voice_models.here(get_settings())]


def test_all_parts_with_one_progress() -> None:
    row = pulled()
    assert row.status == "succeeded", row.error
    result = row.result or {}
    assert [(one["part"], one["name"], one["repo"]) for one in result["parts"]] == [
        ("transcriber", "whisper-tiny", WHISPER), ("speaker", "amy", VOICES), ("emotion", "roberta", ROBERTA),
    ]  # fmt: skip
    assert result["name"] == "voice"
    assert result["bytes"] == result["fetched_bytes"] == sum(one["bytes"] for one in result["parts"]) > 450_000
    here = voice_models.here(get_settings())
    assert [(one["part"], one["name"], one["repo"]) for one in here] == [
        (one["part"], one["name"], one["repo"]) for one in result["parts"]
    ]
    assert voice_models.folder(get_settings(), "speaker").joinpath("amy.onnx").stat().st_size == 100_000
    told = events(row.id)
    done = [event["done"] for event in told if event["type"] == "progress"]
    assert done == sorted(done)
    assert done[-1] == result["bytes"]
    assert {event["total"] for event in told if event["type"] == "progress"} == {result["bytes"]}
    assert str(get_settings().data_dir) not in str(told) + str(result)
    with reading() as session:
        assert llm_defaults.resolve(session, LOCAL_OWNER, llm_defaults.CHAT) is None, "it is no language model"


def test_one_part(hub: HubServer) -> None:
    assert [one["part"] for one in (pulled("voice:speaker").result or {})["parts"]] == ["speaker"]
    assert parts_here() == ["speaker"]
    assert (pulled("voice:speaker").result or {})["fetched_bytes"] == 0


def test_no_hub_is_said_once_in_a_sentence(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("HUB_URL", f"http://127.0.0.1:{free_port()}")
    reset_settings()
    row = pulled()
    assert (row.status, row.failures) == ("failed", 1), "nobody waits for it to come back"
    error = row.error or {}
    assert (error["code"], error["retryable"]) == ("hub_away", False)
    assert error["message"].startswith("The hub (127.0.0.1) cannot be reached: ")
    assert error["message"].endswith("Nothing was pulled; what is built in goes on serving the voice.")
    assert [event["type"] for event in events(row.id)].count("error") == 1
    assert parts_here() == []


def test_a_repository_that_is_none_is_found_before_anything_is_pulled(
    hub: HubServer, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("VOICE_EMOTION_REPO", VOICES)
    reset_settings()
    row = pulled()
    assert (row.error or {})["code"] == "not_found"
    assert hub.files_asked() == []


def test_a_cut_line_is_taken_up_again(hub: HubServer) -> None:
    hub.cuts = [50_000, 60_000]
    row = pulled()
    assert row.status == "succeeded", row.error
    assert hub.sent == (row.result or {})["bytes"], "no byte came twice"


def test_parts_that_are_whole_stay_when_a_later_one_fails(hub: HubServer) -> None:
    hub.answers.append((rf"hub /{VOICES}/resolve/.*", 404, {}, b""))
    row = pulled()
    assert (row.error or {})["code"] == "not_found"
    assert parts_here() == ["transcriber"]


def test_who_is_no_admin_pulls_nothing(hub: HubServer) -> None:
    job_id = factories.job(Kind.PULL, factories.owner(), input={"model": "voice"})
    run_job(job_id)
    assert (factories.load(job_id).error or {})["message"] == "Only an admin may pull models."
    assert hub.asked == []
