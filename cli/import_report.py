"""What `backchannel import` shows: bars while it works, a table of what happened at the end."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from cli.client import ENDED
from cli.exports import Found
from cli.output import duration, note, plural, printable, short, show, shown_path, table

Json = dict[str, Any]

COUNTS = ("created", "updated", "unchanged", "skipped", "failed")
FAILURES_SHOWN = 100  # of one file; --json has them all
# The server stops telling of each conversation in the event log after this many; the result has them all.
ITEMS_TOLD = 2000


@dataclass(slots=True, eq=False)
class Row:
    """One file or link and what became of it. `job` is the import as last seen."""

    path: Path
    link: str | None = None  # a share link, of which `path` is how it is shown
    error: str | None = None
    job: Json | None = None
    failures: list[Json] = field(default_factory=list)

    @property
    def file(self) -> str:
        return self.link or shown_path(self.path)

    @property
    def result(self) -> Json | None:
        return self.job["result"] if self.job else None

    @property
    def status(self) -> str:
        if self.error:
            return "failed"
        return self.job["status"] if self.job else "not started"

    @property
    def is_good(self) -> bool:
        return self.status == "succeeded" and not self.failures

    @property
    def reason(self) -> str | None:
        """Why there is no result."""
        if self.error or self.job is None or self.job["status"] == "succeeded":
            return self.error
        if self.job["status"] in ENDED:
            error = self.job["error"]
            return error["message"] if error else f"The import was {self.job['status']}."
        return None

    def as_json(self) -> Json:
        result = self.result or {}
        return {
            "file": self.file,
            "status": self.status,
            "job_id": self.job["id"] if self.job else None,
            "conversations": result.get("conversations"),
            "messages": result.get("messages"),
            "run_ms": self.job["run_ms"] if self.job else None,
            "error": self.reason,
            "failed_items": self.failures,
        }


class Bars:
    """A bar for all files and one for each file in work, on stderr; nothing where nobody looks."""

    def __init__(self, files: int, enabled: bool) -> None:
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[phase]}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[told]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not (enabled and sys.stderr.isatty()),
        )
        self._all = self._bars.add_task("all", total=files, phase="", told=plural(files, "file"), visible=files > 1)
        self._tasks: dict[Path, TaskID] = {}
        self._found: Counter[Path] = Counter()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def note(self, sentence: str) -> None:
        if self._bars.disable:
            note(sentence)
        else:
            self._bars.console.print(Text(printable(sentence), style="dim"))

    def phase(self, file: Path, phase: str, size: int | None = None) -> None:
        """Begin a phase of `file` from nothing; `size` in bytes, where it is known."""
        if file not in self._tasks:
            self._tasks[file] = self._bars.add_task(_fitting(shown_path(file)), total=None, phase="", told="")
        told = decimal(size) if size is not None else ""
        self._bars.reset(self._tasks[file], total=size, phase=phase, told=told)

    def advance(self, file: Path, size: int) -> None:
        self._bars.advance(self._tasks[file], size)

    def take(self, file: Path, event: Json) -> None:
        """An event of the file's job."""
        task = self._tasks[file]
        match event["type"]:
            case "started":
                self._bars.update(task, phase="importing")
            case "item":
                self._found[file] = max(self._found[file], event["item_index"] + 1)
            case "progress":
                told = _told(event, self._found[file])
                self._bars.update(task, completed=event["done"], total=event["total"], told=told)
            case "status" if event["status"] == "retrying":
                self._bars.update(task, phase="waiting")
                self.note(f"{shown_path(file)}: {event['message']} Trying again in {event['retry_in_s']:.0f} s.")

    def end(self, file: Path) -> None:
        task = self._tasks.pop(file, None)
        if task is not None:
            self._bars.remove_task(task)
        self._bars.advance(self._all)


def _fitting(name: str) -> str:
    return name if len(name) <= 30 else f"…{name[-29:]}"


def _told(event: Json, found: int) -> str:
    if event["unit"] != "bytes":
        return f"{event['done']:,} of {event['total']:,} {event['unit']}" if event["total"] else f"{event['done']:,}"
    more = "+" if found >= ITEMS_TOLD else ""
    return f"{decimal(event['done'])} · {found:,}{more} conversations"


def print_table(rows: list[Row]) -> None:
    numbers = (*COUNTS, "messages", "time")
    listing = table("file", *numbers, numbers=numbers)
    for row in rows:
        result = row.result
        counts = [f"{result['conversations'].get(name, 0):,}" for name in COUNTS] if result else ["–"] * len(COUNTS)
        # The id below the name: beside it a terminal of 80 columns has no room for either.
        file = Text(row.file, overflow="fold").append(f"\njob {short(row.job['id'])}" if row.job else "", "dim")
        listing.add_row(
            file,
            *counts,
            f"{result['messages']:,}" if result else "–",
            duration(row.job["run_ms"] if row.job else None),
        )
    show(listing)


def print_failures(rows: list[Row]) -> None:
    bad = [row for row in rows if row.reason or row.failures]
    if bad:
        click.echo("\nFailed:")
    repeated = _repeated([row.reason for row in bad if row.reason])
    for row in bad:
        if row.reason:
            reason = next((row.reason.removesuffix(end) for end in repeated if row.reason.endswith(end)), row.reason)
            click.echo(f"  {row.file}: {printable(reason)}")
        for item in row.failures[:FAILURES_SHOWN]:
            title = " ".join(printable(item["title"] or f"conversation {item['item_index'] + 1}").split())
            click.echo(f"  {row.file} › {title}: {printable(item['reason'] or 'no reason given')}")
        if len(row.failures) > FAILURES_SHOWN:
            click.echo(f"  … and {len(row.failures) - FAILURES_SHOWN:,} more of this file; --json lists them all.")
    for end in repeated:
        click.echo(f"\n{printable(end.strip())}")


def _repeated(reasons: list[str]) -> list[str]:
    """Last sentences that more than one reason has, such as the one that names all that can be imported."""
    ends = Counter(" " + end for start, _, end in (reason.rpartition(". ") for reason in reasons) if start)
    return [end for end, count in ends.items() if count > 1]


def tell_skipped(skipped: list[Found]) -> None:
    if not skipped:
        return
    counts = Counter(one.why or "" for one in skipped)
    suffixes = sorted({one.path.suffix.lower() or "none" for one in skipped if one.why == "of another kind"})
    kinds = f" ({', '.join(suffixes[:8])}{' …' if len(suffixes) > 8 else ''})" if suffixes else ""
    words = [f"{number:,} {why}{kinds if why == 'of another kind' else ''}" for why, number in counts.items()]
    note(f"Skipped: {'; '.join(words)}.")
