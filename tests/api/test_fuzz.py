"""Whatever is sent: an answer of the contract, never a failure of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient

from tests.api.helpers import PROBLEM

Client = TestClient[Litestar]

# The client is the same for all examples; what they leave in the database disturbs none.
many = settings(
    max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
text = st.text(st.characters(exclude_categories=()), max_size=30)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4))
kinds = st.sampled_from(["chat", "import", "embed", "noop", "webhook"])


def close_to(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects with some of these fields, each as it should be or any other value."""
    return st.fixed_dictionaries({}, optional={name: value | anything for name, value in fields.items()})


chats = close_to(
    message=st.just("Hello") | text,
    session_id=text,
    use_rag=st.booleans(),
    temperature=st.floats(),
    seed=st.integers(),
    stop=st.lists(text),
    system=text,
    response_format=close_to(type=st.just("grammar"), grammar=text),
)
submissions = close_to(
    kind=kinds, input=chats | close_to(echo=anything, blob=text), priority=st.integers(0, 9), webhook_url=text
)
names = st.sampled_from(["limit", "offset", "cursor", "kind", "status", "after", "tree", "session_id", "source", "q"])
queries = st.lists(st.tuples(names | text, text | st.integers().map(str)), max_size=4)
raw_queries = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=30)


def check(response: Any) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json().keys() >= PROBLEM
        assert len(response.content) < 10_000


def send(client: Client, path: str, body: object) -> None:
    content = json.dumps(body).encode()  # with NaN, Infinity and half surrogates, as careless clients write them
    headers = {"content-type": "application/json", "prefer": "respond-async"}
    check(client.post(path, content=content, headers=headers))


@many
@given(body=submissions | anything)
def test_any_json_to_jobs(client: Client, body: object) -> None:
    send(client, "/api/jobs", body)


@many
@given(body=chats | anything)
def test_any_json_to_chat(client: Client, body: object) -> None:
    send(client, "/api/chat", body)


@many
@given(body=close_to(text=text, prompt=text, session_id=text, cache=st.booleans(), emotion=st.booleans()) | anything)
@pytest.mark.parametrize("path", ["/api/text-chat", "/chat"])
def test_any_json_to_the_other_chats(client: Client, path: str, body: object) -> None:
    send(client, path, body)


states = close_to(
    character=st.sampled_from(["faithh", "pulse"]), status=st.just("online") | text, activity=st.just("idle") | text
)


@many
@given(body=states | anything)
def test_any_json_to_an_avatar(client: Client, body: object) -> None:
    send(client, "/api/avatar/state", body)
    check(client.get("/api/avatar/state"))


@many
@given(body=st.binary(max_size=60))
def test_any_bytes(client: Client, body: bytes) -> None:
    for path, media in (("/api/jobs", "application/json"), ("/api/imports", "multipart/form-data; boundary=a")):
        check(client.post(path, content=body, headers={"content-type": media}))
    framed = b'--a\r\nContent-Disposition: form-data; name="file"' + body + b"\r\n\r\nx\r\n--a--\r\n"
    check(client.post("/api/imports", content=framed, headers={"content-type": "multipart/form-data; boundary=a"}))


PATHS = (
    "/api/jobs",
    "/api/jobs/x/events",
    "/api/conversations",
    "/api/chat/history",
    "/api/imports/x/items",
    "/api/sessions",
    "/chat/history",
    "/api/workspace/scan",
)


@many
@given(query=queries, raw=raw_queries, path=st.sampled_from(PATHS))
def test_any_query(client: Client, query: list[tuple[str, str]], raw: str, path: str) -> None:
    kept = [(name.encode(errors="replace"), value.encode(errors="replace")) for name, value in query]
    check(client.get(path, params=kept))  # type: ignore[arg-type]
    check(client.get(f"{path}?{raw}"))


@many
@given(name=st.binary(min_size=1, max_size=20))
@pytest.mark.parametrize(
    "path", ["/api/jobs/{}", "/api/conversations/{}", "/{}", "/chat/history/{}", "/api/sessions/{}/history"]
)
def test_any_path(client: Client, name: bytes, path: str) -> None:
    check(client.get(path.format("".join(f"%{byte:02x}" for byte in name))))


@many
@given(
    headers=st.dictionaries(
        st.sampled_from(["prefer", "idempotency-key", "last-event-id", "content-type", "origin", "host"]),
        st.binary(max_size=20),
        max_size=3,
    )
)
def test_any_header(client: Client, headers: dict[str, bytes]) -> None:
    sent = {name.encode(): value for name, value in ({"content-type": b"application/json"} | headers).items()}
    check(client.post("/api/jobs", content=b'{"kind":"noop"}', headers=sent | {b"prefer": b"wait=0"}))  # type: ignore[arg-type]
    check(client.get("/api/jobs/x/events", headers=sent))  # type: ignore[arg-type]
