"""Kind `pull`: a GGUF file from the hub becomes a local model, or several files a part of the voice; after a kill the
next attempt goes on behind what is there."""

from __future__ import annotations

import time
from typing import Any

from celery.signals import worker_ready

from config import voice_models
from config.catalogue import LOCAL, models_dir, pulled_as
from config.errors import HubAway, Unavailable
from config.logging import log
from config.queues import WORKERS, Kind
from config.settings import get_settings
from storage import jobs, llm_defaults, queue, users
from storage.database import Session, reading, transaction
from storage.jobs import NewJob
from storage.tables import LOCAL_OWNER
from tasks.base import job
from tasks.run import JobRun, Outcome
from workers.hub.download import Pull, Pulled
from workers.hub.folder_pull import FolderPull
from workers.hub.repository import Found, Hub, look_up, look_up_folder

# One pull at a time: they share the line, and what one needs of the disk the next must know of.
SERIAL_KEY = "pull"
TOLD_EVERY_S = 0.5


@job(Kind.PULL)
def pull(run: JobRun) -> Outcome:
    settings = get_settings()
    with reading() as session:
        users.require_admin(session, run.owner_id, "pull models")
    reference = run.input.get("model") or settings.model_pull_default
    hub = Hub(settings.hub_url, settings.hub_token.get_secret_value())
    if parts := voice_models.wanted(settings, reference):
        return _pull_voice(run, hub, reference, parts)
    run.emit("status", status="looking_up", model=reference)
    found = look_up(hub, reference)
    run.check()
    telling = _Telling(run, found.model.size)
    pulled = Pull(hub, found, reference, models_dir(settings), run.check, telling.tell).run()
    telling.end()
    return Outcome(_result(found, pulled), lambda session: _become_default(session, pulled.name, run.owner_id))


def _result(found: Found, pulled: Pulled) -> dict[str, Any]:
    log.info("pulled", model=pulled.name, bytes=pulled.size, fetched=pulled.fetched)
    return {
        "name": pulled.name,
        "repo": found.repo,
        "revision": found.revision,
        "files": [file.name for file in found.model.files],
        "bytes": pulled.size,
        "sha256": pulled.sha256,
        "fetched_bytes": pulled.fetched,
    }


def _pull_voice(run: JobRun, hub: Hub, wanted: str, parts: dict[str, str]) -> Outcome:
    """All are found before the first is pulled. Each is in place when it is whole, whatever becomes of the others."""
    found: dict[str, Found] = {}
    for part, reference in parts.items():
        run.emit("status", status="looking_up", model=reference)
        try:
            found[part] = look_up_folder(hub, part, reference)
        except Unavailable as error:
            raise HubAway(f"{error.detail} Nothing was pulled; what is built in goes on serving the voice.") from None
        run.check()
    telling = _Telling(run, sum(one.model.size for one in found.values()))
    results: list[dict[str, Any]] = []
    for part, one in found.items():
        place = voice_models.folder(get_settings(), part)
        pulled = FolderPull(hub, one, parts[part], place, run.check, telling.tell).run()
        telling.before += pulled.size
        results.append({"part": part, **_result(one, pulled)})
    telling.end()
    return Outcome(
        {
            "name": wanted,
            "parts": results,
            "bytes": sum(one["bytes"] for one in results),
            "fetched_bytes": sum(one["fetched_bytes"] for one in results),
        }
    )


def _become_default(session: Session, name: str, owner_id: str) -> None:
    """The house's model for chat, unless it has one."""
    if not get_settings().model_path and llm_defaults.get(session, llm_defaults.CHAT) is None:
        llm_defaults.choose(session, llm_defaults.CHAT, LOCAL, name, owner_id)


class _Telling:
    """Progress, twice a second at most."""

    def __init__(self, run: JobRun, total: int) -> None:
        self._run, self._total = run, total
        self._told: tuple[str, float] = ("", 0.0)
        self.before = 0  # bytes of models that are done

    def tell(self, phase: str, done: int) -> None:
        told_phase, told_at = self._told
        now = time.monotonic()
        if phase != told_phase or now - told_at >= TOLD_EVERY_S:
            self._told = phase, now
            self._run.progress(self.before + done, self._total, "bytes", phase)

    def end(self) -> None:
        self._run.progress(self._total, self._total, "bytes", self._told[0] or "checking")


@worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(sender: Any, **_: Any) -> None:
    name = str(sender.hostname).partition("@")[0]
    if "pull" in WORKERS.get(name, ()):
        pull_what_is_set()


def pull_what_is_set() -> None:
    """Have MODEL_REPO pulled, unless that was done before or is being done."""
    settings = get_settings()
    reference = settings.model_repo
    if not reference or settings.model_path or pulled_as(settings, reference) is not None:
        return
    with transaction() as session:
        users.ensure_local_owner(session)
        on_its_way = [
            row
            for status in ("queued", "running")
            for row in jobs.page(
                session, LOCAL_OWNER, kind=Kind.PULL.value, status=status, before=None, limit=settings.max_page
            )
        ]
        if any(row.input.get("model") == reference for row in on_its_way):
            return
        new = jobs.add(session, NewJob(Kind.PULL, LOCAL_OWNER, {"model": reference}, serial_key=SERIAL_KEY))
        queue.send_after_commit(session, [new])
    log.info("pulling the model of MODEL_REPO", model=reference, job_id=new.id)
