"""What language models keep of conversations beside the database, and how it goes when somebody deletes what was said.

The files are removed at once, by whoever deletes. A marker beside them says when that was: a running worker sees it
with its next heartbeat and drops what it holds in memory; one that starts removes what a worker that died in between
may have left. So it holds without Redis, and whoever is down meanwhile. All caches go, not one conversation's: which of
them hold what was quoted into another prompt is not known, and all that it costs is reading prompts again.
"""

from __future__ import annotations

import time
from pathlib import Path

from config.logging import log
from config.settings import get_settings
from storage.database import Session, after_commit

# A worker that lives looks more often than this, even on a slow day; until then it may still write what it holds.
_SEEN_WITHIN_S = 60.0


def forget_after_commit(session: Session) -> None:
    """Call where messages are deleted. Never raises afterwards."""
    after_commit(session, forget)


def forget() -> None:
    try:
        _marker().parent.mkdir(parents=True, exist_ok=True)
        _marker().touch()  # first, so that what is written after it is dropped by its writer
        _remove(time.time())
    except OSError as error:
        log.error("models' caches were not forgotten", reason=type(error).__name__)


def forgotten_at() -> int:
    """When that was asked for the last time, in nanoseconds; 0 for never."""
    try:
        return _marker().stat().st_mtime_ns
    except OSError:
        return 0


def clean_up() -> None:
    """At a worker's start, before it loads a model."""
    if asked := forgotten_at():
        _remove(asked / 1e9 + _SEEN_WITHIN_S)


def _remove(before_s: float) -> None:
    for path in get_settings().model_cache_dir.rglob("*.state"):
        try:
            if path.stat().st_mtime <= before_s:
                path.unlink()
        except FileNotFoundError:  # the worker was quicker
            pass


def _marker() -> Path:
    return get_settings().model_cache_dir.with_suffix(".forgotten")
