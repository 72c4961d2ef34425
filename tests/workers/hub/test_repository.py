"""What the hub says of a repository, and every way in which it says no, as a sentence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.errors import BackchannelError, Forbidden, NotFound, ProviderRefused, Unavailable, Unusable
from tests.servers import free_port
from tests.standins.hub_server import HubServer, hub_server
from workers.hub.repository import Hub, look_up

REPO = "owner/repo"
INFO = r"hub /api/models/.*"


@pytest.fixture
def server() -> Iterator[HubServer]:
    with hub_server(
        repos={REPO: {"m-Q4_0.gguf": b"GGUF" + b"a" * 100, "README.md": b"# m", "m-Q8_0.gguf": b"GGUF"}}
    ) as it:
        yield it


def test_a_model_is_found_with_size_hash_and_commit(server: HubServer) -> None:
    found = look_up(Hub(server.url), REPO)
    (file,) = found.model.files
    content = server.repos[REPO][file.path]
    assert (found.repo, found.revision, found.model.name) == (REPO, server.commit(REPO), "m-Q4_0")
    assert (file.size, file.sha256) == (104, hashlib.sha256(content).hexdigest())


def test_a_file_that_git_keeps_itself_has_gits_hash(server: HubServer) -> None:
    server.plain.add("m-Q4_0.gguf")
    (file,) = look_up(Hub(server.url), REPO).model.files
    assert file.sha256 is None
    assert file.git_id is not None


def test_revisions(server: HubServer) -> None:
    assert look_up(Hub(server.url), f"{REPO}@main").revision == server.commit(REPO)
    with pytest.raises(NotFound, match="has no revision v9"):
        look_up(Hub(server.url), f"{REPO}@v9")


def test_only_our_token_is_sent_and_nothing_of_this_machine(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("hf_of_the_home_folder")
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_environment")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    look_up(Hub(server.url), REPO)
    look_up(Hub(server.url, "hf_ours"), REPO)
    assert [one.authorization for one in server.asked] == [None, "Bearer hf_ours"]


def test_a_process_that_keeps_its_libraries_offline_still_pulls(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert look_up(Hub(server.url), REPO).repo == REPO


def test_gated_private_and_unknown(server: HubServer) -> None:
    with pytest.raises(Forbidden, match="without a token"):
        look_up(Hub(server.url), "owner/nothing")
    with pytest.raises(NotFound, match="has no owner/nothing"):
        look_up(Hub(server.url, "hf_ours"), "owner/nothing")
    server.token = "hf_ours"
    with pytest.raises(Forbidden, match="accept them there and set HUB_TOKEN"):
        look_up(Hub(server.url), REPO)
    assert look_up(Hub(server.url, "hf_ours"), REPO).repo == REPO


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, Forbidden, "HUB_TOKEN"),
        (403, Forbidden, "HUB_TOKEN"),
        (404, NotFound, "has no owner/repo"),
        (429, Unavailable, "answered 429"),
        (503, Unavailable, "answered 503"),
        (418, ProviderRefused, "answered 418"),
        (400, ProviderRefused, "answered 400"),
    ],
)
def test_refusals(server: HubServer, status: int, kind: type[BackchannelError], words: str) -> None:
    server.answers.append((INFO, status, {"Retry-After": "7"}, b"<html>no</html>"))
    with pytest.raises(kind, match=words) as caught:
        look_up(Hub(server.url), REPO)
    assert caught.value.headers.get("Retry-After") == ("7" if kind is Unavailable else None)


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"[]", b"{", b'{"id": 1, "siblings": [{"x": 1}]}', b"null"])
def test_what_is_no_hub(server: HubServer, body: bytes) -> None:
    server.answers.append((INFO, 200, {"Content-Type": "text/html"}, body))
    with pytest.raises(ProviderRefused, match="correct HUB_URL"):
        look_up(Hub(server.url), REPO)


def test_files_that_cannot_be_checked_are_not_pulled(server: HubServer) -> None:
    body = b'{"id": "owner/repo", "siblings": [{"rfilename": "m.gguf", "size": 5}]}'
    server.answers.append((INFO, 200, {}, body))
    with pytest.raises(ProviderRefused, match="cannot be checked"):
        look_up(Hub(server.url), REPO)


def test_a_hub_that_is_not_there_is_worth_another_try() -> None:
    with pytest.raises(Unavailable, match=r"The hub \(127\.0\.0\.1\) cannot be reached"):
        look_up(Hub(f"http://127.0.0.1:{free_port()}"), REPO)


def test_names_that_no_repository_has(server: HubServer) -> None:
    for wanted in ("owner/-repo", "owner/re..po"):
        with pytest.raises(Unusable):
            look_up(Hub(server.url), wanted)
    assert server.asked == []
