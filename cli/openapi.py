"""`backchannel openapi`: the description of the HTTP interface, without a running server."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson

from cli.output import Command, note, shown_path


@click.command(cls=Command)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; default: the standard output.")
@click.option("--format", "form", type=click.Choice(["json", "yaml"]), default="json", show_default=True)
def command(output: Path | None, form: str) -> None:
    """Print what /openapi.json would tell with these settings."""
    text = _written(form)
    if output is None or output == Path("-"):
        sys.stdout.buffer.write(text)
        return
    try:
        output.write_bytes(text)
    except OSError as error:
        raise click.ClickException(f"{shown_path(output)} cannot be written: {error.strerror}.") from error
    note(f"Wrote {shown_path(output)}.")


def _written(form: str) -> bytes:
    from api.app import create_app
    from api.openapi.document import document

    whole = document(create_app())
    if form == "json":
        return orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    import yaml

    # Through JSON: what is the same object in several places would be told by anchors, which not every reader takes.
    plain = orjson.loads(orjson.dumps(whole))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120).encode()
