"""Share links among the things to import."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TextIO

import click

from cli.import_report import Row
from cli.output import printable
from config.errors import Unusable
from config.share_links import parse_link


class PathOrLink(click.Path):
    """An existing path, or a link as it is."""

    def __init__(self) -> None:
        super().__init__(exists=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        is_link = isinstance(value, str) and value.lower().startswith(("http://", "https://"))
        return value if is_link else super().convert(value, param, ctx)


def lines(links: TextIO | None) -> list[str]:
    """What is empty, or begins with #, is nobody's link."""
    found = [line.strip() for line in links] if links else []
    return [line for line in found if line and not line.startswith("#")]


def link_rows(links: list[str]) -> list[Row]:
    """Each link once, in its usual spelling; what is none fails by itself and stops nothing."""
    rows: dict[str, Row] = {}
    for text in links:
        try:
            link, error = parse_link(text).url, None
        except Unusable as problem:
            link, error = printable(text)[:200], problem.detail
        rows.setdefault(link, Row(Path(link), link=link, error=error))
    return list(rows.values())
