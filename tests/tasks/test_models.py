"""Pulling a model is a job: told, cancelled, resumed by the next attempt, and the default where there was none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from config.catalogue import local_models, models_dir
from config.queues import Kind
from config.settings import get_settings, reset_settings
from storage import llm_defaults
from storage.connections import redis_client
from storage.database import reading, transaction
from storage.events import EventLog
from storage.tables import LOCAL_OWNER, User
from tasks import models, upkeep
from tasks.base import run_job
from tasks.run import JobRun
from tests import factories
from tests.servers import wait_until
from tests.standins.hub_server import HubServer, hub_server

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")

REPO, NAME = "owner/repo", "m-Q4_0.gguf"
CONTENT = b"GGUF" + bytes(n * 7 % 251 for n in range(400_000))


@pytest.fixture(autouse=True)
def hub(settings: pytest.MonkeyPatch, sqlite: str) -> Iterator[HubServer]:
    with hub_server(repos={REPO: {NAME: CONTENT}}) as server:
        settings.setenv("HUB_URL", server.url)
        settings.setenv("RETRY_BASE_S", "0")
        settings.setattr(models, "TOLD_EVERY_S", 0.0)
        reset_settings()
        yield server


def pull_job(model: str = REPO, **fields: Any) -> str:
    return factories.job(Kind.PULL, input={"model": model}, serial_key="pull", **fields)


def events(job_id: str) -> list[dict[str, Any]]:
    return [orjson.loads(event.json) for event in EventLog(redis_client()).read(job_id)]


def default() -> str | None:
    with reading() as session:
        return llm_defaults.resolve(session, LOCAL_OWNER, llm_defaults.CHAT)


def folder() -> Path:
    return models_dir(get_settings())


def test_a_pulled_model_is_a_local_model_and_the_default(hub: HubServer) -> None:
    job_id = pull_job()
    run_job(job_id)
    row = factories.load(job_id)
    assert row.status == "succeeded", row.error
    assert row.result is not None
    assert row.result | {"sha256": "", "revision": ""} == {
        "name": "m-Q4_0", "repo": REPO, "revision": "", "files": [NAME], "bytes": len(CONTENT), "sha256": "",
        "fetched_bytes": len(CONTENT),
    }  # fmt: skip
    assert local_models(get_settings())["m-Q4_0"].read_bytes() == CONTENT
    assert default() == "m-Q4_0"
    told = events(job_id)
    progress = [event for event in told if event["type"] == "progress"]
    assert {event["unit"] for event in progress} == {"bytes"}
    assert {event["total"] for event in progress} == {len(CONTENT)}
    assert "pulling" in {event["phase"] for event in progress}
    assert progress[-1]["done"] == len(CONTENT)
    assert str(folder()) not in str(told) + str(row.result)


def test_a_default_that_was_chosen_stays(hub: HubServer) -> None:
    with transaction() as session:
        llm_defaults.choose(session, llm_defaults.CHAT, "openai", "gpt-4o")
    run_job(pull_job())
    assert default() == "openai/gpt-4o"


def test_model_path_is_a_default_too(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("MODEL_PATH", "/somewhere/own.gguf")
    reset_settings()
    run_job(pull_job())
    assert default() is None


def test_without_a_name_the_usual_one_is_pulled(hub: HubServer, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("MODEL_PULL_DEFAULT", f"{REPO}:Q4_0")
    reset_settings()
    job_id = factories.job(Kind.PULL, input={"model": ""})
    run_job(job_id)
    assert factories.load(job_id).status == "succeeded"


def at_bytes(settings: pytest.MonkeyPatch, limit: int, act: Callable[[JobRun], None]) -> None:
    """Have something happen to the job whenever it tells that so much is there."""
    tell = JobRun.progress

    def told(run: JobRun, done: int, *rest: Any) -> None:
        tell(run, done, *rest)
        if done >= limit:
            act(run)

    settings.setattr(JobRun, "progress", told)


def test_the_next_attempt_of_a_killed_worker_goes_on(hub: HubServer, settings: pytest.MonkeyPatch) -> None:
    """The worker dies in the middle: its lease runs out, upkeep queues the job again, no byte comes twice."""

    class Killed(BaseException):
        pass

    def die(_run: JobRun) -> None:
        raise Killed

    job_id = pull_job()
    with settings.context() as patched:
        at_bytes(patched, 200_000, die)
        with pytest.raises(Killed):
            run_job(job_id)
    assert factories.load(job_id).status == "running"
    have = (folder() / f"{NAME}.part").stat().st_size
    assert 200_000 <= have < len(CONTENT)
    factories.change(job_id, lease_until=factories.ago(1))
    upkeep.sweep()
    run_job(job_id)
    row = factories.load(job_id)
    assert (row.status, row.attempt) == ("succeeded", 2)
    assert row.result is not None
    assert row.result["fetched_bytes"] == len(CONTENT) - have
    assert hub.files_asked()[-1].range == f"bytes={have}-"


def test_cancel_is_seen_in_the_middle_and_what_came_is_kept(settings: pytest.MonkeyPatch) -> None:
    job_id = pull_job()
    at_bytes(settings, 100_000, lambda run: run.cancel_requested.set())
    run_job(job_id)
    assert factories.load(job_id).status == "cancelled"
    assert 100_000 <= (folder() / f"{NAME}.part").stat().st_size < 200_000, "not a block more"
    assert not local_models(get_settings())
    assert default() is None


def test_two_pulls_of_one_file_fetch_it_once(hub: HubServer) -> None:
    first, second = pull_job(), pull_job(f"{REPO}:Q4_0")
    started = threading.Event()
    hub.between = lambda _sent: started.set()
    thread = threading.Thread(target=run_job, args=(first,))
    thread.start()
    wait_until(started.is_set, what="the first block")
    run_job(second)
    thread.join(20)
    run_job(second)
    rows = [factories.load(job_id) for job_id in (first, second)]
    assert [row.status for row in rows] == ["succeeded", "succeeded"]
    assert [row.result["fetched_bytes"] for row in rows if row.result] == [len(CONTENT), 0]
    assert hub.sent == len(CONTENT)


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        ("owner/none", "forbidden", "without a token"),
        (f"{REPO}:Q9", "not_found", "it has m-Q4_0"),
        ("nonsense", "unprocessable", "owner/repository"),
    ],
)
def test_a_pull_that_cannot_be_ends_with_a_sentence(model: str, code: str, words: str) -> None:
    job_id = pull_job(model)
    run_job(job_id)
    row = factories.load(job_id)
    assert row.status == "failed"
    assert row.error is not None
    assert (row.error["code"], row.error["retryable"]) == (code, False)
    assert words in row.error["message"]


def test_a_hub_that_is_away_is_tried_again(hub: HubServer) -> None:
    hub.answers.append((r"hub /api/.*", 503, {}, b""))
    job_id = pull_job()
    run_job(job_id)
    row = factories.load(job_id)
    assert (row.status, row.failures) == ("queued", 1)
    run_job(job_id)
    assert factories.load(job_id).status == "succeeded"


def test_who_is_no_admin_pulls_nothing(hub: HubServer) -> None:
    job_id = factories.job(Kind.PULL, factories.owner(), input={"model": REPO})
    run_job(job_id)
    assert (factories.load(job_id).error or {})["message"] == "Only an admin may pull models."
    assert hub.asked == []


# --- MODEL_REPO


def jobs_of_model_repo(settings: pytest.MonkeyPatch, repo: str = REPO, **env: str) -> list[str]:
    for name, value in {"MODEL_REPO": repo, **env}.items():
        settings.setenv(name, value)
    reset_settings()
    models.pull_what_is_set()
    return [row.id for row in factories.all_jobs(Kind.PULL)]


def test_model_repo_is_pulled_at_the_start_once(settings: pytest.MonkeyPatch, hub: HubServer) -> None:
    (job_id,) = jobs_of_model_repo(settings)
    assert jobs_of_model_repo(settings) == [job_id], "it is on its way"
    run_job(job_id)
    assert jobs_of_model_repo(settings) == [job_id], "it is there"
    assert default() == "m-Q4_0"


def test_model_repo_does_not_wait_for_another_pull_to_be_asked_for(settings: pytest.MonkeyPatch) -> None:
    other = pull_job("owner/other")
    assert len(jobs_of_model_repo(settings)) == 2
    assert factories.load(other).status == "queued"


def test_nothing_is_pulled_where_nothing_is_asked_for(settings: pytest.MonkeyPatch) -> None:
    assert jobs_of_model_repo(settings, "") == []
    assert jobs_of_model_repo(settings, MODEL_PATH="/somewhere/own.gguf") == []


def test_the_first_start_has_no_owner_yet(settings: pytest.MonkeyPatch) -> None:
    with transaction() as session:
        session.delete(session.get(User, LOCAL_OWNER))
    assert len(jobs_of_model_repo(settings)) == 1


def test_only_the_worker_that_pulls_asks(settings: pytest.MonkeyPatch) -> None:
    class Sender:
        hostname = "generate@here"

    settings.setenv("MODEL_REPO", REPO)
    reset_settings()
    models._ready(Sender())
    assert factories.all_jobs() == []
    Sender.hostname = "background@here"
    models._ready(Sender())
    assert len(factories.all_jobs()) == 1
