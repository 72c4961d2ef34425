"""`cli`, with an engine that notes when it drew each token that is told at once: a line `job_id nanoseconds` of
CLOCK_MONOTONIC in the file that STAMPS names, written whenever an answer ends and a few times a second."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from workers.engine.answer import Live

_FLUSH_NS = 200_000_000


def _note_tokens(path: str) -> None:
    file = Path(path).open("a")  # noqa: SIM115 - as long as the process lives
    draw, flushed = Live.draw, 0

    def noting(self: Live, context: Any, place: int) -> Any:
        nonlocal flushed
        now, before = time.monotonic_ns(), self.drawn
        reason = draw(self, context, place)
        if self.drawn > before and not self.text.held:
            file.write(f"{self.prompt.job_id} {now}\n")
        if reason is not None or now - flushed > _FLUSH_NS:
            file.flush()
            flushed = now
        return reason

    Live.draw = noting  # type: ignore[method-assign]


if __name__ == "__main__":
    from cli.main import main

    _note_tokens(os.environ["STAMPS"])
    main()
