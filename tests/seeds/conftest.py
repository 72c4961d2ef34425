"""One running copy per auth mode, shared by all that is asked of it; only one runs at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import httpx
import pytest

from tests.seeds.house import House, Mode, house


@pytest.fixture(scope="session", params=get_args(Mode))
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp(request.param), request.param) as made:
        yield made


@pytest.fixture(scope="session")
def clients(home: House) -> Iterator[dict[str, httpx.Client]]:
    """By the way in which they signed in; and a stranger, where there are several people."""
    made = {way: home.client(way) for way in (*home.ways, *(["stranger"] if home.mode == "required" else []))}
    yield made
    for client in made.values():
        client.close()
