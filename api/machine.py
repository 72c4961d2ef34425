"""How busy this machine and this process are, looked at no more than once a second however many ask."""

from __future__ import annotations

import threading
import time
from typing import Any

import psutil

_EVERY_S = 1.0
_lock = threading.Lock()
_me = psutil.Process()
_seen_at = 0.0
_seen: dict[str, Any] = {}
_times = psutil.cpu_times()


def load() -> dict[str, Any]:
    """{cpu_usage, memory_usage}: per cent of the machine's; {connections}: clients that this process talks with;
    {memory_bytes}: what this process has."""
    global _seen_at, _seen  # noqa: PLW0603
    with _lock:
        if time.monotonic() - _seen_at > _EVERY_S:
            _seen = {
                "cpu_usage": _cpu_percent(),
                "memory_usage": psutil.virtual_memory().percent,
                "connections": _connections(),
                "memory_bytes": _me.memory_info().rss,
            }
            _seen_at = time.monotonic()
        return dict(_seen)


def _cpu_percent() -> float:
    """Since the last look. psutil's own remembers that by thread, and every request has another."""
    global _times
    before, _times = _times, psutil.cpu_times()
    spent = {name: max(0.0, getattr(_times, name) - getattr(before, name)) for name in _times._fields}
    total = sum(seconds for name, seconds in spent.items() if not name.startswith("guest"))  # `user` holds these
    idle = spent["idle"] + spent.get("iowait", 0.0)
    return round(100 * (1 - idle / total), 1) if total else 0.0


def _connections() -> int:
    """Those that came in by a port on which this process listens; its own to others do not count."""
    try:
        sockets = _me.net_connections("tcp")
    except psutil.Error:  # not everywhere may a process ask
        return 0
    ports = {one.laddr.port for one in sockets if one.status == psutil.CONN_LISTEN}
    return sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port in ports for one in sockets)
