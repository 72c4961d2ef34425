"""What a job knows beyond one attempt, put together bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from storage.database import Session
from tasks.run import JobRun


class Checkpoint:
    def __init__(self, run: JobRun) -> None:
        self._run = run
        self.values: dict[str, Any] = dict(run.job.checkpoint or {})

    @contextmanager
    def keep(self, **more: Any) -> Iterator[Session]:
        """A transaction, fenced as a slice is, that records these beside what is kept already: what is written in it
        is written once, and later attempts know."""
        values = self.values | more
        with self._run.slice(checkpoint=values) as session:
            yield session
        self.values = values
