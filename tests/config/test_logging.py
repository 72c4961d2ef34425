"""One log shape: JSON lines with the job's id on each, tracebacks without what the variables held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

SPEAK = """
import logging
import structlog
from config.logging import configure_logging, log

configure_logging("a-process")
with structlog.contextvars.bound_contextvars(job_id="j"):
    log.info("something happened", count=3)
logging.getLogger("a.library").warning("said %s", "so", extra={"more": 1})
logging.getLogger("httpx").info("GET /")
log.debug("detail")
try:
    message = "what a person said"
    raise ValueError("no")
except ValueError:
    log.exception("failed")
"""


def spoken(log_format: str) -> str:
    """What a process with this setting writes; logging belongs to a whole process, so it gets one."""
    env = os.environ | {"LOG_FORMAT": log_format, "LOG_LEVEL": "INFO"}
    return subprocess.run([sys.executable, "-c", SPEAK], env=env, capture_output=True, text=True, check=True).stderr


def test_lines_for_machines() -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in spoken("json").splitlines()]
    ours, theirs, failed = lines
    assert (ours["event"], ours["job_id"], ours["count"], ours["level"]) == ("something happened", "j", 3, "info")
    assert (theirs["event"], theirs["more"], theirs["level"]) == ("said so", 1, "warning")
    assert "ValueError: no" in failed["exception"]
    assert {line["process"] for line in lines} == {"a-process"}
    assert all(line["timestamp"].endswith("Z") for line in lines)


def test_lines_for_people() -> None:
    text = spoken("console")
    assert "something happened" in text
    assert "job_id=j" in text
    assert "ValueError: no" in text
    assert "GET /" not in text
    assert text.count("what a person said") <= 1, "the line of code, never the value of a variable"
