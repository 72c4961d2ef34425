"""Linear: a project is made of a draft, once. Its API is GraphQL over one address."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from config.errors import BackchannelError, Conflict, ProviderRefused, ProviderUnavailable
from config.settings import Settings
from workers.llm.trouble import retry_after_s, sentence

MAX_NAME_CHARS = 80
# Projects looked through for one that was made before, newest first.
_MOST_PAGES = 40
Json = dict[str, Any]

_TEAMS = "query { teams { nodes { id name key } } }"
_CREATE = (
    "mutation Create($input: ProjectCreateInput!) { projectCreate(input: $input) { success project { id name url } } }"
)
_SINCE = (
    "query Since($since: DateTimeOrDuration!, $after: String) { projects(first: 50, after: $after, "
    "filter: { createdAt: { gte: $since } }) { nodes { id name url content } pageInfo { hasNextPage endCursor } } }"
)


@dataclass(frozen=True, slots=True)
class LinearProject:
    id: str
    name: str
    url: str


def is_configured(settings: Settings) -> bool:
    return bool(settings.linear_access_key.get_secret_value())


class Linear:
    """Raises ProviderUnavailable for what may pass, ProviderRefused for what does not."""

    def __init__(self, settings: Settings) -> None:
        """Raises Conflict where no key is set."""
        if not is_configured(settings):
            raise Conflict("Linear is not set up here: set LINEAR_ACCESS_KEY.")
        self._key = settings.linear_access_key.get_secret_value()
        self._url, self._timeout_s = settings.linear_api_url, settings.linear_timeout_s
        self._team = settings.linear_team.strip()

    def create(self, name: str, content: str) -> LinearProject:
        made = self._ask(_CREATE, {"input": {"name": name, "content": content, "teamIds": [self._team_id()]}})
        told = _at(made, "projectCreate")
        if told.get("success") is False:
            raise ProviderRefused("Linear did not make the project, and does not say why.")
        return _project(_at(told, "project"))

    def find(self, marker: str, since: datetime) -> LinearProject | None:
        """The project, made since then, whose text holds the marker."""
        after: str | None = None
        for _ in range(_MOST_PAGES):
            page = _at(self._ask(_SINCE, {"since": since.isoformat(), "after": after}), "projects")
            for node in _nodes(page):
                if marker in str(node.get("content") or ""):
                    return _project(node)
            info = page.get("pageInfo") or {}
            if not info.get("hasNextPage"):
                return None
            after = info.get("endCursor")
        raise ProviderRefused("Linear has too many new projects to look for this one among them.")

    def _team_id(self) -> str:
        teams = _nodes(_at(self._ask(_TEAMS, {}), "teams"))
        wanted = self._team.casefold()
        found = [team for team in teams if not wanted or wanted in _names(team)]
        if not found:
            raise ProviderRefused(
                "Linear knows no team of the name in LINEAR_TEAM." if wanted else "Linear names no team for a project."
            )
        return _text(found[0], "id")

    def _ask(self, query: str, variables: Json) -> Json:
        try:
            with httpx.Client(timeout=self._timeout_s, trust_env=False) as client:
                headers = {"Authorization": self._key}  # no Bearer before a personal key
                answer = client.post(self._url, json={"query": query, "variables": variables}, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ProviderUnavailable(f"Linear did not answer ({type(error).__name__}).") from error
        try:
            body = answer.json()
        except (ValueError, RecursionError):
            body = None
        told = body if isinstance(body, dict) else {}
        errors = told.get("errors")
        if errors or not answer.is_success:
            raise self._trouble(answer, errors)
        return _at(told, "data")

    def _trouble(self, answer: httpx.Response, errors: Any) -> BackchannelError:
        """Linear tells most troubles with a code beside the message, and often with status 400."""
        first = _object(errors[0] if isinstance(errors, list) and errors else None)
        more = _object(first.get("extensions"))
        code = " ".join(str(more.get(name, "")) for name in ("code", "type")).lower()
        status = answer.status_code
        if status in (401, 403) or "authentication" in code or "forbidden" in code:
            return ProviderRefused("Linear does not accept LINEAR_ACCESS_KEY.")
        if status == 429 or "ratelimit" in code:
            after = retry_after_s(answer.headers.get("retry-after"))
            headers = {"Retry-After": str(math.ceil(after))} if after is not None else None
            return ProviderUnavailable("Linear wants to be left alone for a while.", headers=headers)
        if status >= 500 or status == 408:
            return ProviderUnavailable(f"Linear answered {status}.")
        said = more.get("userPresentableMessage") or first.get("message") or f"status {status}"
        return ProviderRefused(f"Linear refused: {sentence(str(said).replace(self._key, '…'))}")


def _at(body: Json, name: str) -> Json:
    found = body.get(name)
    if not isinstance(found, dict):
        raise ProviderRefused("Linear answered something that cannot be read.")
    return found


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _nodes(page: Json) -> list[Json]:
    nodes = page.get("nodes")
    return [one for one in nodes if isinstance(one, dict)] if isinstance(nodes, list) else []


def _names(team: Json) -> list[str]:
    return [str(team.get(name)).casefold() for name in ("key", "name")]


def _project(node: Json) -> LinearProject:
    return LinearProject(_text(node, "id"), _text(node, "name"), _text(node, "url"))


def _text(node: Json, name: str) -> str:
    value = node.get(name)
    if not isinstance(value, str) or not value:
        raise ProviderRefused("Linear answered something that cannot be read.")
    return value
