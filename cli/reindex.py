"""`backchannel reindex`: the search index made anew."""

from __future__ import annotations

from pathlib import Path

import click
from click.exceptions import Exit

from cli.client import Client
from cli.import_report import Bars
from cli.output import INTERRUPTED, Command, note, print_json, remote, short
from storage.ids import new_id


@click.command(cls=Command)
@click.option("--wait/--no-wait", default=True, help="--no-wait: print the job's id and leave.")
@remote
def command(client: Client, wait: bool, as_json: bool) -> None:
    """Build the search index anew. The old one answers until the new one is done."""
    job = client.submit("embed", {"rebuild": True}, f"reindex-{new_id()}")
    if not wait:
        print_json(job) if as_json else click.echo(job["id"])
        return
    try:
        _follow(client, job["id"], not as_json)
    except KeyboardInterrupt:
        note(f"The rebuild goes on; `backchannel jobs cancel {short(job['id'])}` stops it.")
        raise Exit(INTERRUPTED) from None
    job = client.job(job["id"])
    if as_json:
        print_json(job)
    elif job["status"] == "succeeded":
        click.echo(f"The new index holds {job['result']['conversations']:,} conversations.")
    else:
        note(f"The rebuild {job['status']}: {(job['error'] or {}).get('message', 'it was stopped')}")
    if job["status"] != "succeeded":
        raise Exit(1)


def _follow(client: Client, job_id: str, progress: bool) -> None:
    name = Path("search index")
    with Bars(1, progress) as bars:
        bars.phase(name, "waiting")
        for event in client.events(job_id):
            if event is not None:
                bars.take(name, event)
