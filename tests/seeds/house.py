"""A whole running copy for the seeds' requests: every process real, the services outside played by stand-ins."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx

from config.queues import WORKERS
from tests import documents
from tests.gguf_model import make_tiny_model
from tests.running import Running, running
from tests.standins import anthropic_server, issuer, openai_server
from tests.standins import linear_server as linear_standin
from tests.standins.anthropic_server import AnthropicServer
from tests.standins.issuer import Issuer, issuer_server
from tests.standins.linear_server import LinearServer, linear_server
from tests.standins.mem0_server import Mem0Server, mem0_server
from tests.standins.metacognition_server import MetacognitionServer, metacognition_server
from tests.standins.openai_server import OpenAIServer
from tests.standins.share_host import Page, share_host

Mode = Literal["local", "required"]
Json = dict[str, Any]
MODEL = "llama3.1-8b"  # FAITHH's document switches to it
USER, EMAIL, PASSWORD = "user1", "alice@example.org", "a long enough password"
PERSON = {"sub": "g-1", "name": "Alice", "email": EMAIL}
STRANGER = {"sub": "g-2", "name": "Bob", "email": "bob@example.org"}
PROMPT_TYPE = "project_draft_chat"
FILES = {
    "text_file": ("roses.txt", b"Roses are pruned in March."),
    "picture_file": ("rose.png", documents.png()),
    "program_file": ("rose.exe", b"MZ" + bytes(200)),
    "huge_file": ("huge.txt", b"rose " * (11 * 2**20 // 5)),
}
# Failing as quickly as it can be done: what is checked is how it is told.
_QUICK = {
    "RETRY_BASE_S": "0.02",
    "SWEEP_S": "0.2",
    "RESEND_AFTER_S": "1",
    "PROVIDER_MAX_RETRIES": "0",
    "PROVIDER_CONNECT_S": "2",
    "METACOGNITION_POLL_S": "0.05",
}
_SMALL = {"MODEL_N_THREADS": "1", "MODEL_SLOTS": "2", "CHAT_MAX_TOKENS": "16", "VOICE_ENABLED": "false"}


@dataclass
class House:
    """One person asks for everything, whatever way they signed in; a stranger is there where AUTH_MODE=required."""

    mode: Mode
    up: Running
    openai: OpenAIServer
    anthropic: AnthropicServer
    linear: LinearServer
    mem0: Mem0Server
    metacognition: MetacognitionServer
    issuer: Issuer
    page: type[Page]  # what share links show
    key: str = ""
    made: dict[str, str] = field(default_factory=dict)  # what was costly to make, for whoever needs it again

    @property
    def ways(self) -> list[str]:
        return ["nobody"] if self.mode == "local" else ["cookie", "bearer", "key"]

    def client(self, way: str) -> httpx.Client:
        """Somebody who has signed in in this way: nobody, cookie, bearer, key, stranger."""
        client = httpx.Client(base_url=self.up.url, trust_env=False, timeout=30)
        match way:
            case "cookie":
                sign_in(client, self.issuer)
            case "bearer":
                token = client.post("/auth/login", json={"username": USER, "password": PASSWORD}).json()["access_token"]
                client.headers["Authorization"] = f"Bearer {token}"
            case "key":
                client.headers["X-API-Key"] = self.key
            case "stranger":
                self.issuer.person = STRANGER
                sign_in(client, self.issuer)
                self.issuer.person = PERSON
        return client

    def restart(self) -> None:
        """kill -9 of the web process and every worker, and back again."""
        names = [name for name in ("web", *WORKERS) if self.up.events("ready", name)]
        gone = {name: self.up.kill(name) for name in names}
        for name, pid in gone.items():
            self.up.wait_ready(name, not_pid=pid)
        wait_for_models(self.up)

    def claude_says(self, text: str, tool: str = "") -> None:
        """Its next answer, before which it calls the tool."""
        said = self.anthropic
        parts = [json.dumps({"title": "By Claude", "description": "Shorter."})]
        calls = ({"id": "toolu_1", "name": tool, "parts": parts},)
        first = [said.says("I will.", reason="tool_use", calls=calls)] if tool else []
        said.answers(*first, said.says(text))

    def command(self, *words: str, given: str = "") -> str:
        argv = [sys.executable, "-P", "-m", "cli", *words]
        folder = self.up.data_dir.parent
        done = subprocess.run(
            argv, cwd=folder, env=self.up.env, input=given, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def sign_in(client: httpx.Client, issuer: Issuer) -> None:
    client.get(f"/api/auth/callback?{consent(client, issuer)}")
    assert client.cookies.get("session_token")


def consent(client: httpx.Client, issuer: Issuer) -> str:
    return issuer.consent(client.get("/api/auth/login").headers["location"])


@contextmanager
def house(folder: Path, mode: Mode) -> Iterator[House]:
    _furnish(folder / "data")
    with ExitStack() as stack:
        enter = stack.enter_context
        openai, anthropic = enter(OpenAIServer()), enter(AnthropicServer())
        linear, mem0, metacognition = enter(linear_server()), enter(mem0_server()), enter(metacognition_server())
        people, (page, shares) = enter(issuer_server()), enter(share_host())
        outside = {
            "OPENAI_BASE_URL": f"{openai.url}/v1", "OPENAI_API_KEY": openai_server.KEY,
            "ANTHROPIC_BASE_URL": anthropic.url, "ANTHROPIC_API_KEY": anthropic_server.KEY,
            "LINEAR_API_URL": linear.url, "LINEAR_ACCESS_KEY": linear_standin.KEY,
            "MEM0_API_URL": mem0.url, "MEM0_USER_ID": "jo",
            "METACOGNITION_API_URL": metacognition.url, "METACOGNITION_AUTH_TOKEN": "token",
            "CHATGPT_SHARE_URL": shares,
            "OIDC_ISSUER": people.url, "OIDC_CLIENT_ID": issuer.CLIENT_ID, "OIDC_CLIENT_SECRET": issuer.CLIENT_SECRET,
        }  # fmt: skip
        up = enter(running(folder, AUTH_MODE=mode, **outside, **_QUICK, **_SMALL))
        made = House(mode, up, openai, anthropic, linear, mem0, metacognition, people, page)
        _populate(made)
        wait_for_models(up)
        yield made


def _furnish(data: Path) -> None:
    (data / "models").mkdir(parents=True)
    (data / "images").mkdir()
    (data / "images" / "faithh.png").write_bytes(documents.png())
    make_tiny_model(data / "models" / f"{MODEL}.gguf", context_length=8192)


def _populate(made: House) -> None:
    """The person has a password, a key and an address that the issuer vouches for."""
    made.command("user", "add", USER, "--admin", "--email", EMAIL, "--password-stdin", given=f"{PASSWORD}\n")
    made.issuer.person = PERSON
    if made.mode == "required":
        made.key = json.loads(made.command("key", "add", USER, "--json"))["key"]


def wait_for_models(up: Running) -> None:
    with httpx.Client(base_url=up.url, trust_env=False, timeout=10) as client:
        up.wait(lambda: client.get("/api/health").json()["models_loaded"], what="the models to be loaded")
