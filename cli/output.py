"""What the commands share on the terminal's side: the options that name a server, tables, and words for numbers."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec

import click
import httpx
from click.exceptions import Exit, NoArgsIsHelpError
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

from cli.client import Client
from cli.problems import ClientError
from config.settings import get_settings

P = ParamSpec("P")

INTERRUPTED = 130  # what a shell reports for Ctrl-C
_PIPE_COLUMNS = 120  # a table that goes into a file or a pager

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


# --- commands ---


def remote(function: Callable[P, None]) -> Callable[..., None]:
    """Add --url, --api-key and --json; the function is called with an open `client` and with `as_json`."""

    @click.option("--url", envvar="BACKCHANNEL_URL", show_envvar=True, help="Server [default: HOST and PORT].")
    @click.option("--api-key", envvar="BACKCHANNEL_API_KEY", show_envvar=True, help="Key to sign in with.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text for people.")
    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        url, api_key = kwargs.pop("url"), kwargs.pop("api_key")
        for stream in (sys.stdout, sys.stderr):
            # A terminal that cannot show a character shows `?` instead of ending the command.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        try:
            with open_client(str(url) if url else None, str(api_key) if api_key else None) as client:
                kwargs["client"] = client
                function(*args, **kwargs)
        except KeyboardInterrupt:
            note("Interrupted.")
            raise Exit(INTERRUPTED) from None
        except KeyError as error:
            sentence = f"The server's answer lacks {error}; it may be of another version than this command."
            raise ClientError(sentence, "other_version") from error

    return command


def open_client(url: str | None, api_key: str | None) -> Client:
    url = url or default_url()
    if not re.match(r"https?://[^/]", url):
        raise click.UsageError(f"--url must begin with http:// or https://, which {printable(url)!r} does not.")
    if api_key and not re.fullmatch(r"[\x21-\x7e]+", api_key):
        raise click.UsageError("--api-key holds characters that no key has.")
    try:
        return Client(url, api_key, note)
    except (httpx.InvalidURL, UnicodeError):
        raise click.UsageError(f"--url {printable(url)!r} is no address.") from None


def default_url() -> str:
    settings = get_settings()
    # A server that listens everywhere is reached here.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """Click shows a usage error in three lines; without its context it is the sentence alone."""
    try:
        yield
    except NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        raise click.UsageError(error.format_message()) from None


class Command(click.Command):
    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _one_sentence():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _one_sentence():
            return super().invoke(ctx)


class Group(click.Group):
    command_class = Command

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _one_sentence():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _one_sentence():
            return super().invoke(ctx)


# --- printing ---


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8", "replace"))


def note(sentence: str) -> None:
    """Something beside the point, on stderr."""
    click.secho(printable(sentence), dim=True, err=True)


def table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """`numbers`: the columns that are aligned to the right."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        made.add_column(name, justify="right" if name in numbers else "left", no_wrap=name in numbers)
    return made


def show(what: RenderableType) -> None:
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_COLUMNS
    Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False).print(what)


def printable(text: str) -> str:
    """Without control characters: titles and answers come from elsewhere and must not drive the terminal."""
    return _CONTROL.sub("", text)


def shown_path(path: Path) -> str:
    """File names need not be text."""
    return printable(os.fsencode(path).decode("utf-8", "replace"))


def short(job_id: str) -> str:
    """The random end of an id; its beginning is the time and much the same for all of a day's jobs."""
    return job_id[-12:]


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "–"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def age(moment: str | None) -> str:
    """How long ago an ISO 8601 time was."""
    if moment is None:
        return "–"
    seconds = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
