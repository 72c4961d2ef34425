"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from cli.redis_server import find_binary

_PACKAGES = (
    "celery", "kombu", "redis", "litestar", "uvicorn", "SQLAlchemy", "torch", "sentence-transformers", "chromadb",
    "llama-cpp-python",
)  # fmt: skip


def facts() -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "CPU": f"{cores} cores, {_cpu_model()}",
        "Memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "System": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": platform.python_version(),
        "Stores": f"redis-server {_redis_version()}, SQLite {sqlite3.sqlite_version} (WAL, synchronous=normal)",
        "Packages": ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name))),
        "Used by others": f"{psutil.cpu_percent(interval=2.0) * cores / 100:.1f} cores before the first section",
    }


def load() -> float:
    """How many processes wanted a core, averaged over the last minute."""
    return psutil.getloadavg()[0]


def markdown(found: dict[str, str]) -> str:
    lines = ["| Measured on | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in found.items())]
    return "\n".join([*lines, ""])


def _cpu_model() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _redis_version() -> str:
    binary = find_binary()
    if binary is None:
        return "(none)"
    said = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=False).stdout
    return next((word.removeprefix("v=") for word in said.split() if word.startswith("v=")), "?")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
