"""Files and folders of the running copy."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import click

from config.settings import Settings


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    fresh.replace(path)


def make_private(folder: Path) -> None:
    """Make `folder` with mode 0700; refuse one that somebody else owns or that is a link to elsewhere."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise click.ClickException(f"{folder} must be a folder of this user, because it holds sockets; remove it.")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def chroma_port_file(settings: Settings) -> Path:
    """Where the private Chroma writes the port it listens on; storage.vectors reads it too."""
    return settings.run_dir / "chroma.port"
