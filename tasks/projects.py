"""Kind `project`: a draft becomes a project in Linear, once, however often this is tried.

    note that Linear is asked ──▶ Linear makes it ──▶ row and lock
    the note is there: look whether Linear has made it, and only then ask

One job at a time works on a draft, so nobody asks meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from config.queues import Kind
from config.settings import get_settings
from storage import projects
from storage.database import reading
from storage.project_tables import Project
from tasks.base import event_log, job
from tasks.checkpoints import Checkpoint
from tasks.draft_material import open_conversation
from tasks.run import JobRun, Outcome
from workers.linear import Linear

# Linear's clock need not be ours.
_CLOCKS_DIFFER = timedelta(days=1)
Record = Callable[[dict[str, Any]], dict[str, Any]]


@job(Kind.PROJECT)
def create(run: JobRun) -> Outcome:
    kept = Checkpoint(run)
    if "project" not in kept.values:
        make_project(run, kept, run.input["title"], run.input["description"])
    tell_lock(run)
    return Outcome(kept.values["project"])


def make_project(
    run: JobRun, kept: Checkpoint, title: str, description: str, record: Record = lambda _project: {}
) -> dict[str, Any]:
    """The project as clients see it, kept as `project`; `record` is what is kept together with it.

    Raises Conflict for a locked conversation or without a key, and what `workers.linear` raises."""
    conversation_id = run.input["conversation_id"]
    with reading() as session:
        open_conversation(session, run)
        asked_at = projects.asked_at(session, conversation_id)
    linear, marker = Linear(get_settings()), projects.marker_of(conversation_id)
    made = linear.find(marker, asked_at - _CLOCKS_DIFFER) if asked_at is not None else None
    if made is None:
        with kept.keep(**{projects.ASKED: True}):
            pass
        made = linear.create(title, f"{description}\n\n---\n\n{marker}")
    project = Project(
        conversation_id=conversation_id,
        marker=marker,
        linear_project_id=made.id,
        linear_url=made.url,
        title=title,
        description=description,
        created_by_user_id=run.owner_id,
    )
    told = projects.as_json(project)
    with kept.keep(project=told, **record(told)) as session:
        projects.add(session, open_conversation(session, run, lock=True), project)
    return told


def tell_lock(run: JobRun) -> None:
    """The event; not again where an attempt that died has told it."""
    if run.attempt > 1:
        run.flush(2.0)
        if any(event.type == "conversation_locked" for event in event_log().read(run.id)):
            return
    run.emit("conversation_locked")
