"""Every request that the seeds document, sent to a running copy: it answers as its document says, whoever asks and
however they signed in; and only them."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from tests.api.helpers import problem
from tests.seeds.given import OWNED, Given
from tests.seeds.house import House
from tests.seeds.reading import SEEDS, Request, listed, requests
from tests.seeds.shapes import check

pytestmark = pytest.mark.slow
Clients = dict[str, httpx.Client]
required = pytest.mark.parametrize("home", ["required"], indirect=True)


def those(wanted: Callable[[Request], bool]) -> list[Request]:
    return [one for seed in SEEDS for one in requests(seed) if wanted(one)]


@pytest.mark.parametrize("seed", SEEDS)
def test_all_that_is_listed_is_asked(seed: str) -> None:
    assert {one.endpoint for one in requests(seed)} == set(listed(seed))


@pytest.mark.parametrize("request_", those(lambda one: "required" not in one.marks), ids=str)
def test_it_is_as_documented(home: House, clients: Clients, request_: Request) -> None:
    for way in home.ways:
        client = home.client(way) if "own" in request_.marks else clients[way]
        is_as_documented(home, client, request_)


@required
@pytest.mark.parametrize("request_", those(lambda one: "required" in one.marks), ids=str)
def test_so_is_signing_in(home: House, clients: Clients, request_: Request) -> None:
    for way in home.ways:
        is_as_documented(home, clients[way], request_)


@required
@pytest.mark.parametrize("request_", those(lambda one: "public" in one.marks), ids=str)
def test_who_has_not_signed_in_is_answered_in_public_places(home: House, request_: Request) -> None:
    with home.client("nobody") as client:
        is_as_documented(home, client, request_)


@required
@pytest.mark.parametrize("request_", those(lambda one: "public" not in one.marks), ids=str)
def test_and_nowhere_else(home: House, clients: Clients, request_: Request) -> None:
    with home.client("nobody") as client:
        problem(send(client, request_, Given(home, clients["key"])), 401)


@required
@pytest.mark.parametrize("request_", those(lambda one: bool(OWNED & one.names)), ids=str)
def test_a_stranger_finds_nothing(home: House, clients: Clients, request_: Request) -> None:
    answer = send(clients["stranger"], request_, Given(home, clients["key"]))
    problem(answer, 404 if request_.status < 400 else request_.status)


@required
@pytest.mark.parametrize("request_", those(lambda one: "admin" in one.marks), ids=str)
def test_what_is_for_admins_is_for_nobody_else(home: House, clients: Clients, request_: Request) -> None:
    problem(send(clients["stranger"], request_, Given(home, clients["key"])), 403)


def is_as_documented(home: House, client: httpx.Client, request_: Request) -> None:
    given = Given(home, client)
    for name in request_.needs:
        assert getattr(given, name)
    if request_.tool is not None:
        home.claude_says("There you are.", request_.tool)
    check(send(client, request_, given), request_.status, given.fill(request_.answer))


def send(client: httpx.Client, request_: Request, given: Given) -> httpx.Response:
    path = given.fill(request_.path)
    if request_.file:
        return client.request(request_.method, path, files={"file": given.upload(request_.file)})
    body = json.loads(given.fill(request_.body)) if request_.body else None
    return client.request(request_.method, path, json=body)
