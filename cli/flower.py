"""Flower, closed to web pages of elsewhere and, with AUTH_MODE=required, to whoever has no password."""

from __future__ import annotations

import logging
import os
import secrets
from typing import Any
from urllib.parse import urlsplit

import click

from cli.files import write_atomically
from cli.launch import run_celery_without_tasks
from config.settings import Settings, is_loopback

# A task per second comes from beat alone; beyond this the oldest are forgotten, and memory stays flat.
MAX_TASKS = 10_000


def run_flower(settings: Settings) -> None:
    """Without a login Flower is for looking only: pages without buttons, and an HTTP API that takes no command."""
    credentials = login(settings)
    # Flower reads FLOWER_* itself; by environment because everyone can read a command line.
    for name in ("FLOWER_BASIC_AUTH", "FLOWER_UNAUTHENTICATED_API"):
        os.environ.pop(name, None)
    args = [
        f"--address={settings.flower_bind.strip('[]')}",
        f"--port={settings.flower_port}",
        f"--max_tasks={MAX_TASKS}",
        "--tasks_columns=name,args,state,received,started,runtime,worker,uuid",
        "--purge_offline_workers=300",
        "--logging=none",  # Tornado's own; ours is set up by run_celery
    ]
    if credentials:
        os.environ["FLOWER_BASIC_AUTH"] = credentials
    else:
        args.append("--read_only=True")
        os.environ["FLOWER_UNAUTHENTICATED_API"] = "true"  # the guard lets reading through and nothing else
    guard(settings)
    # It asks workers that are still starting, and hears of them by event later.
    logging.getLogger("flower.inspector").setLevel(logging.ERROR)
    run_celery_without_tasks("flower", ["flower", *args])


def login(settings: Settings) -> str:
    """user:password, from FLOWER_BASIC_AUTH or made up once; empty in local mode, where no login is asked for."""
    if settings.flower_basic_auth:
        user, _, password = settings.flower_basic_auth.partition(":")
        if not user or not password or "," in settings.flower_basic_auth:
            raise click.ClickException("FLOWER_BASIC_AUTH must read user:password, without a comma.")
        return settings.flower_basic_auth
    if settings.auth_mode == "local":
        return ""
    kept = settings.data_dir / "flower-password"
    if not kept.exists():
        write_atomically(kept, secrets.token_urlsafe(18) + "\n", mode=0o600)
    return f"admin:{kept.read_text().strip()}"


def guard(settings: Settings) -> None:
    """Without a login: our own names only (a page elsewhere can point its name at 127.0.0.1), no page of another origin
    (Flower would let any of them read), and nothing but reading."""
    if login(settings):
        return
    import flower.command
    from tornado.web import ErrorHandler

    class LocalFlower(flower.command.Flower):  # type: ignore[misc]
        def find_handler(self, request: Any, **kwargs: Any) -> Any:
            name = (urlsplit(f"//{request.host}").hostname or "").lower()
            known = is_loopback(name) or name == settings.flower_bind.lower() or name in settings.allowed_hosts
            origin = request.headers.get("Origin")
            foreign = origin is not None and urlsplit(origin).netloc.lower() != request.host.lower()
            # The task list asks for its rows by POST.
            reads = request.method in ("GET", "HEAD", "OPTIONS") or request.path.endswith("/tasks/datatable")
            if known and not foreign and reads:
                return super().find_handler(request, **kwargs)
            return self.get_handler_delegate(request, ErrorHandler, {"status_code": 403})

    flower.command.Flower = LocalFlower
