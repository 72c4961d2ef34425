"""`backchannel jobs`: what the server does, did and has yet to do."""

from __future__ import annotations

import json
import re
from typing import Any

import click
from click.exceptions import Exit
from rich.text import Text

from cli.client import ENDED, Client
from cli.output import (
    INTERRUPTED,
    Group,
    age,
    duration,
    note,
    plural,
    print_json,
    printable,
    remote,
    short,
    show,
    table,
)  # fmt: skip
from cli.problems import ClientError

Json = dict[str, Any]

RECENT = 1000  # jobs among which an abbreviated id is looked for
_LONG = ("content", "sources")  # of a chat's result: the text was shown as it came
_ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")

command = Group("jobs", help="List, show, watch, cancel or retry jobs. An id may be cut short at either end.")


@command.command("list")
@click.option("--kind", help="Only jobs of this kind: chat, import, embed …")
@click.option("--status", help="Only jobs in this state: queued, running, succeeded, failed or cancelled.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Jobs at most.")
@remote
def list_jobs(client: Client, kind: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """List jobs, newest first."""
    found = client.jobs(limit, kind=kind, status=status)
    if as_json:
        print_json(found)
        return
    if not found:
        note("There are no such jobs.")
        return
    listing = table("job", "kind", "status", "progress", "made", "time", "remark", numbers=("job", "time"))
    for job in found:
        listing.add_row(
            short(job["id"]), job["kind"], _status(job), _progress(job["progress"]), age(job["created_at"]),
            duration(job["run_ms"]), Text(_remark(job)),
        )  # fmt: skip
    show(listing)


@command.command("show")
@click.argument("job_id", metavar="ID")
@remote
def show_job(client: Client, job_id: str, as_json: bool) -> None:
    """Show everything about one job."""
    job = client.job(resolve(client, job_id))
    if as_json:
        print_json(job)
        return
    for name, value in job.items():
        if value is None or name == "links":
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
        click.echo(f"{name:16} {printable(text)}")


@command.command("watch")
@click.argument("job_id", metavar="ID")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Leave out events up to this number.")
@remote
def watch(client: Client, job_id: str, after: int, as_json: bool) -> None:
    """Follow a job's events to its end: lines for people, or with --json one object per line."""
    full = resolve(client, job_id)
    lines = _Lines()
    try:
        for event in client.events(full, after):
            if event is None:
                continue
            if as_json:
                click.echo(json.dumps(event, ensure_ascii=False).encode("utf-8", "replace"))
            else:
                lines.take(event)
    except KeyboardInterrupt:
        lines.end()
        note(f"The job {short(full)} goes on; `backchannel jobs cancel {short(full)}` stops it.")
        raise Exit(INTERRUPTED) from None
    finally:
        lines.end()
    if client.job(full)["status"] != "succeeded":
        raise Exit(1)


@command.command("cancel")
@click.argument("job_id", metavar="ID")
@remote
def cancel(client: Client, job_id: str, as_json: bool) -> None:
    """Stop a job that waits or runs."""
    full = resolve(client, job_id)
    before = client.job(full)["status"]
    job = client.act(full, "cancel")
    if as_json:
        print_json(job)
    elif before in ENDED:
        click.echo(f"The job {short(full)} had ended before: {job['status']}.")
    elif job["status"] == "running":
        click.echo(f"The job {short(full)} was asked to stop.")
    else:
        click.echo(f"The job {short(full)} is {job['status']}.")


@command.command("retry")
@click.argument("job_id", metavar="ID")
@remote
def retry(client: Client, job_id: str, as_json: bool) -> None:
    """Run a failed or cancelled job again; it goes on where it stopped."""
    full = resolve(client, job_id)
    job = client.act(full, "retry")
    if as_json:
        print_json(job)
    else:
        click.echo(f"The job {short(full)} is {job['status']} again.")


def resolve(client: Client, given: str) -> str:
    """The whole id of a job. Raises ClientError unless exactly one recent job's id begins or ends so."""
    wanted = given.strip().lower()
    if _ID.fullmatch(wanted):
        return wanted
    if not re.fullmatch(r"[0-9a-f-]+", wanted):
        raise click.UsageError(f"{printable(given)!r} is no job's id.")
    known = [job["id"] for job in client.jobs(RECENT)]
    matching = [job_id for job_id in known if job_id.startswith(wanted) or job_id.endswith(wanted)]
    if not matching:
        raise ClientError(
            f"None of your {plural(len(known), 'newest job')} has an id that ends in {wanted}.", "not_found"
        )
    if len(matching) > 1:
        raise ClientError(
            f"{len(matching)} jobs have ids that begin or end with {wanted}; give more of it.", "ambiguous"
        )
    return matching[0]


def _status(job: Json) -> Text:
    style = {"running": "cyan", "succeeded": "green", "failed": "red", "cancelled": "yellow"}.get(job["status"], "")
    return Text(job["status"], style=style)


def _progress(progress: Json | None) -> str:
    if not progress:
        return ""
    if progress["total"]:
        return f"{100 * progress['done'] / progress['total']:.0f} %"
    return f"{progress['done']:,} {progress['unit']}"


def _remark(job: Json) -> str:
    if job["error"]:
        return printable(job["error"]["message"])
    if job["blocked_by"]:
        return printable(job["blocked_by"])
    position = (job["queue"] or {}).get("position")
    return f"number {position} in the queue" if position else ""


class _Lines:
    """A job's events for people: answers run on as text, everything else is a line."""

    def __init__(self) -> None:
        self._in_text = False

    def take(self, event: Json) -> None:
        if event["type"] == "content":
            self._in_text = True  # first: Ctrl-C may come between the two
            click.echo(printable(event["content"]), nl=False)
            return
        self.end()
        click.echo(f"{event['sequence_number']:>6}  {printable(_line(event))}")

    def end(self) -> None:
        if self._in_text:
            click.echo()
            self._in_text = False


def _line(event: Json) -> str:
    rest = {name: value for name, value in event.items() if name not in ("type", "job_id", "sequence_number")}
    match event["type"]:
        case "started":
            return f"started, attempt {event.get('attempt', 1)}"
        case "progress":
            of = f" of {event['total']:,}" if event["total"] else ""
            return f"{event.get('phase', 'progress')}: {event['done']:,}{of} {event['unit']}"
        case "item":
            reason = f" ({event['reason']})" if event.get("reason") else ""
            return f"{event['status']}: {event.get('title') or '(untitled)'}{reason}"
        case "status":
            details = ", ".join(f"{name} {value}" for name, value in rest.items() if name != "status")
            return f"{event['status']}{': ' if details else ''}{details}"
        case "error":
            return f"failed: {event['message']}"
        case "reset":
            return "the log was lost; the answer starts over"
        case "done":
            result = {name: value for name, value in (event["response"] or {}).items() if name not in _LONG}
            return f"done: {json.dumps(result, ensure_ascii=False)}"
    return " ".join([event["type"], *([json.dumps(rest, ensure_ascii=False)] if rest else [])])
