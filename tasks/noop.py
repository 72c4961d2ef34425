"""A job that does nothing: it measures the ledger and shows that workers answer."""

from __future__ import annotations

from config.queues import Kind
from tasks.base import job
from tasks.run import JobRun, Outcome


@job(Kind.NOOP)
def do_nothing(run: JobRun) -> Outcome:
    run.check()
    return Outcome({"echo": run.input.get("echo")})
