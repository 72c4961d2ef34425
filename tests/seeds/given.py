"""What the seeds' requests speak of, made over HTTP when a request names it: `{conversation}`, `{file}`, `@talked` …"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from functools import cached_property
from typing import Any

import httpx

from tests import exports
from tests.seeds.house import FILES, MODEL, PASSWORD, PROMPT_TYPE, House, consent
from tests.seeds.shapes import frames

Json = dict[str, Any]
# Names of things that somebody owns; a stranger finds none of them.
OWNED = {
    *("conversation", "session", "summarised", "discussed", "drafted", "version", "file", "filed", "projected"),
    "felt",
}
_NAME = re.compile(r"{(\w+)}")
TURNS = [("user", "When are roses pruned?"), ("assistant", "In March.")]
NOW = {"Prefer": "wait=30"}


class Given:
    """For one request: what it names twice is the same thing, what another request names is another. Only what takes
    long to make, and is changed by nobody, is made once for all."""

    picture, password, type = "faithh.png", PASSWORD, PROMPT_TYPE

    def __init__(self, house: House, client: httpx.Client) -> None:
        self._house, self._client = house, client

    def fill(self, text: str) -> str:
        return _NAME.sub(lambda found: str(getattr(self, found[1])), text)

    def upload(self, name: str) -> tuple[str, bytes]:
        return FILES[name.strip("{}")]

    # --- conversations

    @cached_property
    def session(self) -> str:
        return str(self._post("/api/sessions")["session_id"])

    @cached_property
    def talked(self) -> str:
        """Also the current session."""
        self._post("/api/chat", {"message": "Hello", "session_id": self.session, "model": MODEL})
        return self.session

    @cached_property
    def felt(self) -> str:
        def make() -> str:
            self._post("/api/text-chat", {"text": "How are you?", "session_id": self.session, "model": MODEL})
            return self.session

        return self._once("felt", make)

    @cached_property
    def new_link(self) -> str:
        return self._link(str(uuid.uuid4()))

    @cached_property
    def old_link(self) -> str:
        url = str(self._get(f"/api/conversations/{self.conversation}")["url"])
        return self._link(url.rpartition("/")[2])

    def _link(self, number: str) -> str:
        self._house.page.body = exports.chatgpt_json([exports.chatgpt_conversation(number, "Roses", TURNS)])
        return f"https://chatgpt.com/share/{number}"

    @cached_property
    def conversation(self) -> str:
        """Imported."""

        def make() -> str:
            answer = self._client.post("/api/conversations/import", json={"url": self.new_link})
            return str(frames(answer)[-1]["conversation"]["id"])

        return self._once("conversation", make)

    @cached_property
    def summarised(self) -> str:
        def make() -> str:
            self._post(f"/api/conversations/{self.conversation}/summary", {}, NOW)
            return self.conversation

        return self._once("summarised", make)

    # --- drafts, projects, files

    @cached_property
    def drafted(self) -> str:
        for title in ("Tulips", "Roses in rows"):
            path = f"/api/conversations/{self.session}/project-draft"
            self._checked(self._client.patch(path, json={"title": title, "description": "Plant those."}))
        return self.session

    @cached_property
    def version(self) -> str:
        """The draft's first."""
        return str(self._get(f"/api/conversations/{self.drafted}/project-draft/versions")["versions"][-1]["id"])

    @cached_property
    def discussed(self) -> str:
        def make() -> str:
            path = f"/api/conversations/{self.drafted}/project-draft/chat/stream"
            self._house.claude_says("Shorter it is.")
            self._post(path, {"message": "Make it shorter.", "llm_model": "claude-sonnet-4"}, NOW)
            return self.drafted

        return self._once("discussed", make)

    @cached_property
    def projected(self) -> str:
        def make() -> str:
            self._post(f"/api/conversations/{self.drafted}/project", {})
            return self.drafted

        return self._once("projected", make)

    @cached_property
    def file(self) -> str:
        made = self._client.post(
            f"/api/conversations/{self.session}/files", files={"file": FILES["text_file"]}, headers=NOW
        )
        return str(self._checked(made)["id"])

    @cached_property
    def filed(self) -> str:
        assert self.file
        return self.session

    # --- people

    @cached_property
    def me(self) -> str:
        return str(self._get("/api/auth/me")["id"])

    @cached_property
    def consent(self) -> str:
        return consent(self._client, self._house.issuer)

    # ---

    def _once(self, name: str, make: Callable[[], str]) -> str:
        if name not in self._house.made:
            self._house.made[name] = make()
        return self._house.made[name]

    def _get(self, path: str) -> Json:
        return self._checked(self._client.get(path))

    def _post(self, path: str, body: Json | None = None, headers: Json | None = None) -> Json:
        return self._checked(self._client.post(path, json=body, headers=headers))

    def _checked(self, answer: httpx.Response) -> Json:
        assert answer.is_success, answer.text
        told: Json = answer.json()
        return told
