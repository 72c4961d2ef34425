"""`backchannel export`: everything you have, in one file of your own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

import click

from cli.client import Client
from cli.output import Command, note, plural, print_json, remote, shown_path

NAMES = {"zip": "backchannel.zip", "jsonl": "backchannel.jsonl", "markdown": "backchannel-markdown.zip"}


@click.command(cls=Command)
@click.option("--format", "form", type=click.Choice(list(NAMES)),
              help="zip and jsonl can be imported again, jsonl has no uploaded files, markdown is a zip to be read; "
                   "without it the name of --output says, and no name says zip.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; - is the standard output.")
@click.option("--files/--no-files", default=True, help="Whether a zip holds the uploaded files.", show_default=True)
@click.option("--source", help="Only what came from there: chatgpt, claude, backchannel …")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@remote
def command(
    client: Client, form: str | None, output: Path | None, files: bool, source: str | None, force: bool, as_json: bool
) -> None:
    """Write all conversations to a file. The whole file is there, or none of it."""
    form = form or _form_of(output)
    params = {"format": form, **({"source": source} if source else {}), **({} if files else {"files": "false"})}
    if output == Path("-"):
        client.download("/api/export", params, sys.stdout.buffer)
        return
    target = output or Path(NAMES[form])
    if target.exists() and not force:
        raise click.UsageError(f"{shown_path(target)} is there already; give --force or another --output.")
    size = _write(client, params, target)
    if as_json:
        print_json({"file": str(target), "bytes": size})
    else:
        note(f"Wrote {plural(size, 'byte')} to {shown_path(target)}.")


def _form_of(output: Path | None) -> str:
    return "zip" if output is None or output.suffix.lower() == ".zip" else "jsonl"


def _write(client: Client, params: dict[str, str], target: Path) -> int:
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with fresh.open("xb") as file:
            size = _download(client, params, file)
        fresh.replace(target)
    except OSError as error:
        raise click.ClickException(f"{shown_path(target)} cannot be written: {error.strerror}.") from error
    finally:
        fresh.unlink(missing_ok=True)
    return size


def _download(client: Client, params: dict[str, str], file: BinaryIO) -> int:
    size = client.download("/api/export", params, file)
    file.flush()
    os.fsync(file.fileno())
    return size
