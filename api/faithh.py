"""What FAITHH's window shows beside the chat: the session's statistics, its two faces, the workspace."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any, Literal

import redis
from litestar import Controller, get, post
from litestar.params import FromQuery
from pydantic import model_validator

from api import machine
from api.auth import page_origins
from api.intake import AnyRequest
from api.schemas import Body
from api.status import STARTED_AT, vital_signs
from api.threads import reading as in_thread
from api.threads import waiting, writing
from api.views import iso, job_json
from config.errors import Forbidden, Unavailable
from config.logging import log
from config.queues import KINDS, Kind
from config.settings import get_settings
from storage import avatars, jobs, presence, queue, stats, users, workspace
from storage.avatars import Work
from storage.database import DatabaseError, is_duplicate, reading, transaction
from storage.jobs import NewJob
from storage.tables import utcnow
from storage.workspace import Changes, FoundFile, Look

Json = dict[str, Any]
# Names told of each sort of change; the counts are of all.
MAX_NAMES = 100

_STATES: dict[str, dict[str, tuple[str, ...]]] = {
    "faithh": {"status": ("online", "busy", "offline"), "activity": ("idle", "thinking", "responding")},
    "pulse": {"status": ("online", "warning", "error"), "activity": ("monitoring", "idle")},
}


class AvatarIn(Body):
    """A state set by hand; what is left out follows the work as before."""

    character: Literal["faithh", "pulse"]
    status: str | None = None
    activity: str | None = None

    @model_validator(mode="after")
    def _known(self) -> AvatarIn:
        for name, words in _STATES[self.character].items():
            given = getattr(self, name)
            if given is not None and given not in words:
                raise ValueError(f"{self.character}'s {name} is one of {', '.join(words)}")
        if self.status is None and self.activity is None:
            raise ValueError("needs a status or an activity")
        return self


class FaithhController(Controller):
    path = "/api"
    tags = ["faithh"]  # noqa: RUF012

    @get("/session/stats", summary="Figures of your current session")
    async def stats(self, request: AnyRequest) -> Json:
        return await in_thread(_stats, request.user.id)

    @post("/session/reset", status_code=200, summary="Let the session's figures begin anew; what was said stays")
    async def reset(self, request: AnyRequest) -> Json:
        await writing(_reset, request.user.id)
        return {"success": True, "message": "Session statistics reset"}

    @get("/avatar/state", summary="What FAITHH and PULSE are doing")
    async def avatars(self, request: AnyRequest) -> Json:
        return {"success": True, "avatars": await in_thread(_avatars, request.user.id)}

    @post("/avatar/state", status_code=200, summary="Set a state by hand, for a moment")
    async def override(self, request: AnyRequest, data: AvatarIn) -> Json:
        state = data.model_dump(include={"status", "activity"}, exclude_none=True)
        await in_thread(avatars.override, request.user.id, data.character, state)
        return {
            "success": True,
            "updated": data.character,
            **state,
            "expires_in": avatars.OVERRIDE_S,
            "message": f"For {avatars.OVERRIDE_S} seconds; then the state follows the work again.",
        }

    @get("/workspace/scan", summary="The files of the workspace, and what changed since the last look")
    async def scan(self, request: AnyRequest, index: FromQuery[bool] = False) -> Json:
        """`index` makes a job that keeps the texts among them as conversations, to be searched and quoted."""
        if request.user.role != "admin":
            raise Forbidden("Only an admin may look at the workspace.")
        if index:
            _refuse_strangers(request)
        found = await waiting(_scan)
        if index and found["configured"]:
            found["job"] = await writing(_index, request.user.id)
        return found


# --- session


def _stats(owner_id: str) -> Json:
    with reading() as session:
        told = stats.of_session(session, users.get(session, owner_id))
    return {
        "success": True,
        "stats": {
            "message_count": told.answers,
            "token_count": told.tokens,
            "session_start": iso(told.started_at),
            "session_duration": round((utcnow() - told.started_at).total_seconds(), 3),
            "avg_response_time": round(told.mean_response_ms / 1000, 3),
            "last_activity": iso(told.last_activity),
            "session_id": told.session_id,
        },
    }


def _reset(owner_id: str) -> None:
    with transaction() as session:
        users.set_stats_since(session, owner_id, utcnow())


# --- avatars


def _avatars(owner_id: str) -> Json:
    health, why = vital_signs()
    load = machine.load()
    metrics = {"cpu_usage": load["cpu_usage"], "memory_usage": load["memory_usage"]}
    shown: Json = {
        "faithh": _faithh(owner_id),
        "pulse": {
            "status": health,
            "activity": "monitoring",
            "last_active": iso(utcnow()),
            "reasons": why,
            "metrics": {**metrics, "active_connections": load["connections"]},
        },
    }
    return {character: state | _by_hand(owner_id, character) for character, state in shown.items()}


def _faithh(owner_id: str) -> Json:
    try:
        with reading() as session:
            work = avatars.work_of(session, owner_id)
    except DatabaseError:
        work = Work(False, (), None)
    try:
        activity: str = avatars.activity(work)
        speaking = any("chat" in worker.queues and worker.state != "stopping" for worker in presence.present())
    except redis.RedisError:
        activity, speaking = "idle", False
    status = "offline" if not speaking else "online" if activity == "idle" else "busy"
    return {"status": status, "activity": activity, "last_active": iso(work.last_active or STARTED_AT)}


def _by_hand(owner_id: str, character: str) -> Json:
    try:
        state, seconds = avatars.overridden(owner_id, character)
    except redis.RedisError:
        return {}
    return {**state, "overridden_until": iso(utcnow() + timedelta(seconds=seconds))} if state else {}


# --- workspace


def _refuse_strangers(request: AnyRequest) -> None:
    """A picture's address on a page elsewhere is a GET as well."""
    site = request.headers.get("sec-fetch-site", "none")
    if site not in ("none", "same-origin") and request.headers.get("origin", "").lower() not in page_origins(
        get_settings()
    ):
        raise Forbidden("Requests from pages of that origin are refused; add it to CORS_ORIGINS.")


def _scan() -> Json:
    settings = get_settings()
    root = settings.workspace_dir
    if root is None:
        told = "No workspace is set; WORKSPACE_DIR names the folder that may be looked at."
        return {**_look_json("", Look(), Changes()), "configured": False, "message": told}
    with workspace.one_at_a_time():
        try:
            seen = workspace.look(root.expanduser(), settings)
        except OSError as error:
            log.warning("no workspace", reason=type(error).__name__)
            raise Unavailable("The workspace cannot be read: there is no such folder, or it is not ours.") from None
        return {**_look_json(root.name, seen, _record(seen)), "configured": True}


def _record(seen: Look) -> Changes:
    try:
        with transaction() as session:
            return workspace.record(session, seen)
    except DatabaseError as error:
        if not is_duplicate(error):
            raise
        with transaction() as session:  # another process looked at the same moment
            return workspace.record(session, seen)


def _look_json(name: str, seen: Look, changes: Changes) -> Json:
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for file in seen.files:
        counts[file.kind] += 1
        sizes[file.kind] += file.size
    newest = sorted(seen.files, key=lambda file: (file.modified_at, file.path), reverse=True)
    return {
        "success": True,
        "timestamp": iso(utcnow()),
        "workspace": name or None,
        "total_files": len(seen.files),
        "total_size": sum(sizes.values()),
        "by_kind": {kind: {"files": counts[kind], "size": sizes[kind]} for kind in sorted(counts)},
        "complete": seen.is_complete,
        "passed_over": seen.passed_over,
        "changes": {"since": iso(changes.since), **_changes_json(changes)},
        "files": [_file_json(file) for file in newest[: get_settings().max_page]],
    }


def _changes_json(changes: Changes) -> Json:
    groups = {"added": changes.added, "changed": changes.changed, "removed": changes.removed}
    return {name: {"files": len(paths), "names": list(paths[:MAX_NAMES])} for name, paths in groups.items()}


def _file_json(file: FoundFile) -> Json:
    return {"path": file.path, "kind": file.kind, "size": file.size, "modified_at": iso(file.modified_at)}


def _index(owner_id: str) -> Json:
    """The job that is on its way, or a new one."""
    with transaction() as session:
        jobs.check_room(session, KINDS[Kind.WORKSPACE].queue, owner_id)
        new = NewJob(Kind.WORKSPACE, owner_id, serial_key=f"workspace:{owner_id}")
        made = jobs.add_unless_active(session, new)
        if made is not None:
            queue.send_after_commit(session, [made])
    with reading() as session:
        found = made or jobs.page(session, owner_id, kind=Kind.WORKSPACE, status=None, before=None, limit=1)[0]
        return job_json(session, found)
