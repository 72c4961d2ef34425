"""A stand-in for Linear: keeps the projects it is asked to make, and refuses what the real one refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.standins.server import Asked, Json, Telling, Told

KEY = "lin_api_0123456789"
PAGE = 2  # projects of one page, so that a search has to turn pages


def refusal(message: str, code: str, status: int = 400, **headers: str) -> Told:
    told = {"message": message, "extensions": {"code": code, "userPresentableMessage": message}}
    return status, {"errors": [told]}, {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass
class LinearServer:
    """`replies`: answers of the next calls in place of its own. `after`: called when a project was made and nobody has
    been told."""

    url: str = ""
    teams: list[Json] = field(default_factory=lambda: [_team("t1", "Roses", "ROS"), _team("t2", "Tulips", "TUL")])
    projects: list[Json] = field(default_factory=list)
    replies: list[Told] = field(default_factory=list)
    asked: list[Json] = field(default_factory=list)
    after: Callable[[], None] = lambda: None

    def answer(self, asked: Asked) -> Told:
        key, body = asked.headers["Authorization"], asked.body
        self.asked.append(body)
        if key != KEY:
            return refusal(f"Authentication required, not authenticated: {key}", "AUTHENTICATION_ERROR", 401)
        if self.replies:
            return self.replies.pop(0)
        query, given = body["query"], body.get("variables") or {}
        if "projectCreate" in query:
            return self._create(given["input"])
        if "projects(" in query:
            return self._page(given)
        if "teams" in query:
            return 200, {"data": {"teams": {"nodes": self.teams}}}, {}
        return refusal("Cannot query that field.", "GRAPHQL_VALIDATION_FAILED")

    def _create(self, given: Json) -> Told:
        if given.keys() != {"name", "content", "teamIds"} or not set(given["teamIds"]) <= {t["id"] for t in self.teams}:
            return refusal("Argument Validation Error", "INVALID_INPUT")
        if not given["name"] or len(given["name"]) > 80:
            return refusal("name must be shorter than or equal to 80 characters", "INVALID_INPUT")
        number = len(self.projects) + 1
        made = {"id": f"p{number}", "name": given["name"], "url": f"https://linear.app/x/project/p{number}"}
        self.projects.append(made | {"content": given["content"], "team": given["teamIds"][0]})
        self.after()
        return 200, {"data": {"projectCreate": {"success": True, "project": made}}}, {}

    def _page(self, given: Json) -> Told:
        start = int(given["after"] or 0)
        nodes = self.projects[::-1][start : start + PAGE]
        info = {"hasNextPage": start + PAGE < len(self.projects), "endCursor": str(start + PAGE)}
        return 200, {"data": {"projects": {"nodes": nodes, "pageInfo": info}}}, {}


def _team(team_id: str, name: str, key: str) -> Json:
    return {"id": team_id, "name": name, "key": key}


@contextmanager
def linear_server() -> Iterator[LinearServer]:
    kept = LinearServer()
    with Telling(kept.answer) as server:
        kept.url = f"{server.url}/graphql"
        yield kept
