"""`backchannel search`: conversations by title and meaning."""

from __future__ import annotations

from typing import Any

import click
from rich.text import Text

from cli.client import Client
from cli.output import Command, note, print_json, printable, remote, show, table

Json = dict[str, Any]


@click.command(cls=Command)
@click.argument("words", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True, help="Conversations at most.")
@remote
def command(client: Client, words: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Find conversations by title and by meaning."""
    query = " ".join(words)
    if not query.strip():
        raise click.UsageError("There is nothing to search for.")
    found = client.request("GET", "/api/search", params={"q": query, "limit": limit})
    if as_json:
        print_json(found)
        return
    if found["results"]:
        _print(found["results"])
    else:
        note("Nothing was found.")
    if degraded := found.get("degraded"):
        note(degraded)


def _print(hits: list[Json]) -> None:
    listing = table("score", "why", "conversation", numbers=("score",))
    for hit in hits:
        listing.add_row(f"{hit['score']:.2f}", hit["why"], _conversation(hit))
    show(listing)


def _conversation(hit: Json) -> Text:
    """Title, snippet and id below each other: beside each other they leave no room on a terminal of 80 columns."""
    text = Text(printable(hit["title"] or "(untitled)"), style="bold")
    if hit["snippet"]:
        text.append(f"\n{' '.join(printable(hit['snippet']).split())}", style="not bold")
    return text.append(f"\n{hit['conversation_id']}\n", style="not bold dim")
