"""A private copy of Backchannel: the Procfile's own processes in a temporary DATA_DIR."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import subprocess
import threading
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from benchmarks.processes import Child, Peer, Trouble, clean_environment, python
from config.settings import private_redis_socket


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class House:
    """`env` are settings that differ from the defaults. Everything listens on loopback or a Unix socket."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.port = free_port()
        self.env = clean_environment(
            DATA_DIR=str(self.data_dir), HOST="127.0.0.1", PORT=str(self.port), LOG_FORMAT="json", **env
        )
        self.children: dict[str, Child] = {}
        self._peers: list[Peer] = []

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _open(self) -> None:
        self.folder.mkdir(parents=True)
        self.start("redis")
        upgrade = python("cli", "db", "upgrade", "--quiet")
        done = subprocess.run(upgrade, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Trouble(f"the database could not be made:\n{done.stderr[-2000:]}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for peer in self._peers:
            peer.__exit__(None, None, None)
        stores = [child for name, child in self.children.items() if name in ("redis", "chroma")]
        others = [child for child in self.children.values() if child not in stores]
        for group in (others, stores):
            stopping = [threading.Thread(target=child.stop) for child in group]
            for thread in stopping:
                thread.start()
            for thread in stopping:
                thread.join()

    def start(self, *names: str, through: str = "cli") -> None:
        """Start processes of the Procfile and wait until all of them are ready. `through` is a module that does more
        on the way."""
        for name in names:
            self.children[name] = Child(name, *python(through, "run", name), folder=self.folder, env=self.env)
        for name in names:
            self.children[name].wait_ready(partial(self._is_ready, name))

    def start_other(self, name: str, module: str, *args: str, **env: str) -> Child:
        """Start a module that is none of Backchannel's processes: a baseline. The caller waits for it."""
        child = Child(name, *python(module, *args), folder=self.folder, env={**self.env, **env})
        self.children[name] = child
        return child

    def peer(self, module: str, **env: str) -> Peer:
        peer = Peer(module, folder=self.folder, env={**self.env, **env})
        self._peers.append(peer)
        return peer

    def redis(self, db: int = 0) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.redis_socket), db=db)

    @property
    def redis_socket(self) -> Path:
        return private_redis_socket(self.data_dir)

    def sql(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(self.data_dir / "backchannel.db", timeout=30)
        try:
            with connection:
                return connection.execute(statement, parameters).fetchall()
        finally:
            connection.close()

    # --- is it ready?

    def _is_ready(self, name: str) -> bool:
        match name:
            case "redis":
                return self._redis_answers()
            case "web":
                return answers_http(self.port, "/health")
            case "chroma":
                port = self.data_dir / "run" / "chroma.port"
                return port.exists() and answers_http(int(port.read_text()), "/api/v2/heartbeat")
            case "beat":
                return True  # it answers nobody
            case _:
                return self._worker_state(name) == "ready"

    def _redis_answers(self) -> bool:
        try:
            return bool(self.redis().ping())
        except redis.RedisError:
            return False

    def _worker_state(self, name: str) -> str | None:
        client = self.redis()
        for key in client.scan_iter(f"bc:worker:{name}:*"):
            if value := client.get(key):
                return str(json.loads(value)["state"])
        return None


def answers_http(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
