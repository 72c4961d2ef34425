"""Becoming one of the processes: what `backchannel run NAME` turns into."""

from __future__ import annotations

import importlib
import os
import socket
import sys
import warnings
from pathlib import Path
from typing import NoReturn

from cli.files import chroma_port_file, write_atomically
from cli.processes import Process
from cli.redis_server import redis_argv
from config.queues import WORKERS
from config.settings import Settings

# Streams and waiting requests get this long to end after a stop signal.
WEB_GRACE_S = 10


def become(process: Process, settings: Settings) -> NoReturn:
    """Turn the calling process into `process`; its pid and signals are the real thing's."""
    set_environment(settings)
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    match process.role:
        case "redis":
            argv = redis_argv(settings)
            os.execv(argv[0], argv)  # noqa: S606 - no shell is meant
        case "chroma":
            run_chroma(settings)
        case "web":
            serve(settings)
        case "worker":
            # Celery looks for tasks in the working directory first; what is loaded already it does not look for.
            importlib.import_module("tasks.all")
            run_celery(process.name, worker_args(process.name, settings))
        case "beat":
            run_celery_without_tasks(process.name, ["beat"])
        case "flower":
            from cli.flower import run_flower

            run_flower(settings)
    sys.exit(0)


def set_environment(settings: Settings) -> None:
    """No library phones home, and none asks the hub for files unless a setting names some that are there."""
    os.environ["ANONYMIZED_TELEMETRY"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # How long OpenMP's threads spin at a barrier: its own 300,000 turns take a core away from whoever needs it, none at
    # all costs the embedder a third of its speed.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if not settings.model_repo and not needs_the_hub(settings.embedding_model):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def needs_the_hub(embedding_model: str) -> bool:
    """True for a name on the hub; a folder and the packaged default are on this disk."""
    return bool(embedding_model) and not Path(embedding_model).exists()


# --- Chroma ---------------------------------------------------------------------------------------------------------


def run_chroma(settings: Settings) -> None:
    port = choose_port(chroma_port_file(settings))
    store = settings.data_dir / "chroma"
    os.environ.setdefault("RUST_LOG", "warn")
    # What the `chroma` script does, without the second that importing chromadb takes first.
    server = importlib.import_module("chromadb_rust_bindings")
    server.cli(["chroma", "run", "--path", str(store), "--host", "127.0.0.1", "--port", str(port)])


def choose_port(remembered: Path) -> int:
    """The port written in `remembered` while it is free, so that clients need not look again; else a free one."""
    try:
        port = int(remembered.read_text())
    except (OSError, ValueError):
        port = 0
    if not port or not is_free("127.0.0.1", port):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        write_atomically(remembered, f"{port}\n")
    return port


def is_free(host: str, port: int) -> bool:
    """Could a server listen there? Asked the way servers do, so that a connection in TIME_WAIT is no hindrance."""
    family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen()
        except OSError:
            return False
    return True


# --- web and Celery, in this very process ---------------------------------------------------------------------------


def serve(settings: Settings) -> None:
    import uvicorn

    from api.app import create_app

    app = create_app()

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.hub.close()  # uvicorn waits for open streams; their clients come back to whoever serves next
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        host=settings.host.strip("[]"),
        port=settings.port,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # a client could write its own address into the log otherwise
        server_header=False,
        timeout_graceful_shutdown=WEB_GRACE_S,
        ws_ping_timeout=90.0,  # /ws/voice reads nothing for up to a minute while its listener is behind, pongs neither
    )
    Server(config).run()


def worker_args(name: str, settings: Settings) -> list[str]:
    slots = getattr(settings, f"{name}_concurrency")
    # Gossip and mingle tell workers about each other, which nothing here asks; heartbeats stay, Flower lives on them.
    return [
        "worker", "-n", f"{name}@%h", "-Q", ",".join(WORKERS[name]), "--pool", "threads", "-c", str(slots),
        "--without-gossip", "--without-mingle",
    ]  # fmt: skip


def run_celery(name: str, args: list[str]) -> None:
    from celery.platforms import SecurityWarning
    from celery.signals import setup_logging

    from config.celery import celery_app
    from config.logging import configure_logging

    configure_logging(name)
    warnings.simplefilter("ignore", SecurityWarning)  # eight lines about being root, which containers are
    setup_logging.connect(lambda **_: configure_logging(name), weak=False)  # instead of Celery's own
    celery_app.start(["--quiet", *args])


def run_celery_without_tasks(name: str, args: list[str]) -> None:
    """For those that only speak of tasks by name: without the tasks' code they start sooner and stay smaller."""
    from config.celery import celery_app

    celery_app.conf.include = []
    run_celery(name, args)
