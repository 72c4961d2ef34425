"""One readable log out of many processes: whole lines, each with its process's name before it."""

from __future__ import annotations

import json
import os
import queue
import threading
from datetime import UTC, datetime
from typing import Any, TextIO

# Lines waiting for a terminal that does not take them (Ctrl-S, a pager); more are dropped and counted, because a
# supervisor that waits for its terminal would stop minding its processes, and they would stop with their pipes full.
BACKLOG_LINES = 10_000
OURSELVES = "backchannel"
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class CombinedLog:
    """Writes from a thread of its own; only `close` waits."""

    def __init__(self, stream: TextIO, *, as_json: bool, names: list[str]) -> None:
        self._stream = stream
        self._as_json = as_json
        self._width = max(len(name) for name in (*names, OURSELVES))
        self._colourful = not as_json and stream.isatty() and not os.environ.get("NO_COLOR")
        self._colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}
        self._lines: queue.Queue[str | None] = queue.Queue(BACKLOG_LINES)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def line(self, process: str, text: str) -> None:
        """A line that a process wrote."""
        if self._as_json:
            self._put_json("log", process, {"line": text})
        else:
            self._put(self._prefix(process) + text)

    def event(self, kind: str, process: str | None, text: str, **fields: Any) -> None:
        """Something that happened to a process, or to all of them: `text` for people, `fields` for machines."""
        if self._as_json:
            self._put_json(kind, process, {"message": text.strip(), **fields})
            return
        for part in text.split("\n"):
            self._put(self._prefix(OURSELVES) + (f"\x1b[1m{part}\x1b[0m" if self._colourful and part else part))

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is left, unless nobody takes it."""
        try:
            self._lines.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _prefix(self, name: str) -> str:
        padded = name.ljust(self._width)
        if self._colourful and name in self._colours:
            return f"\x1b[{self._colours[name]}m{padded} |\x1b[0m "
        return f"{padded} | "

    def _put_json(self, kind: str, process: str | None, fields: dict[str, Any]) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"event": kind, "at": at} | ({"process": process} if process else {})
        self._put(json.dumps(head | fields, ensure_ascii=False))

    def _put(self, text: str) -> None:
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self._dropped += 1

    def _write(self) -> None:
        gone = False
        while (text := self._lines.get()) is not None:
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                self.event("dropped", None, f"{dropped} lines of log were left out: nobody took them", lines=dropped)
            if gone:
                continue
            try:
                self._stream.write(text + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                gone = True  # the terminal or the pipe; the processes go on
                _discard(self._stream)


def _discard(stream: TextIO) -> None:
    """Let the flush at the interpreter's end find somewhere to write to."""
    try:
        with open(os.devnull, "w") as devnull:  # noqa: PTH123 - a device, not a path of ours
            os.dup2(devnull.fileno(), stream.fileno())
    except (OSError, ValueError):
        pass
