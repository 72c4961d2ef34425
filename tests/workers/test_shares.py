"""What a share link shows is fetched from its own host only, and what goes wrong is told apart."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from config.errors import BackchannelError, Blocked, ChatNotFound, TooLarge, Unavailable
from config.settings import Settings, load_settings
from config.share_links import parse_link
from workers import shares
from workers.shares import fetch, is_challenge, is_public

UUID = "68a1b2c3-d4e5-6789-abcd-ef0123456789"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:0a00:0001::", False),
    ],
)
def test_private_addresses_are_known(address: str, public: bool) -> None:
    assert is_public(address) is public


class Host(http.server.BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, tuple[int, dict[str, str], bytes]]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status, headers, body = self.answers.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def host(settings: pytest.MonkeyPatch) -> Iterator[type[Host]]:
    """A host of share links, played on this machine for all four."""
    Host.answers, Host.asked = {}, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for source in ("CHATGPT", "CLAUDE", "GROK", "BRANCHPROMPT"):
        settings.setenv(f"{source}_SHARE_URL", f"http://127.0.0.1:{server.server_port}")
    yield Host
    server.shutdown()
    server.server_close()


def fetched(text: str, settings: Settings | None = None) -> bytes:
    return fetch(parse_link(text), settings or load_settings())


def test_each_source_is_asked_its_own_way(host: type[Host]) -> None:
    host.answers = {
        f"/share/{UUID}": (200, {}, b"<html>page</html>"),
        f"/api/chat_snapshots/{UUID}?rendering_mode=messages&render_all_tools=true": (200, {}, b"{}"),
        f"/rest/app-chat/share_links/a=_{UUID}": (200, {}, b"{}"),
        "/api/conversations/0123456789abcdef01234567": (200, {}, b'{"title": "T"}'),
        "/api/conversations/0123456789abcdef01234567/messages": (200, {}, b'[{"role": "user", "content": "x"}]'),
    }
    assert fetched(f"https://chatgpt.com/share/{UUID}") == b"<html>page</html>"
    assert fetched(f"https://claude.ai/share/{UUID}") == b"{}"
    assert fetched(f"https://grok.com/share/a%3D_{UUID}") == b"{}"
    assert fetched("https://v2.branchprompt.com/conversation/0123456789abcdef01234567") == (
        b'{"branchprompt":"0123456789abcdef01234567","title":"T","messages":[{"role":"user","content":"x"}]}'
    )


CHALLENGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title>"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((404, {}, b""), ChatNotFound),
        ((410, {}, b""), ChatNotFound),
        ((403, {}, b"no"), Blocked),
        ((401, {}, b""), Blocked),
        ((429, {}, b""), Blocked),
        ((200, {}, CHALLENGE), Blocked),
        ((503, {"cf-mitigated": "challenge"}, CHALLENGE), Blocked),
        ((503, {}, b"down"), Unavailable),
        ((302, {"Location": "https://auth.example.com/login"}, b""), Blocked),
        ((302, {"Location": "http://169.254.169.254/latest/meta-data"}, b""), Blocked),
        ((302, {"Location": f"/share/{UUID}"}, b""), Blocked),
    ],
)
def test_what_went_wrong_is_told_apart(
    host: type[Host], answer: tuple[int, dict[str, str], bytes], error: type[BackchannelError]
) -> None:
    host.answers = {f"/share/{UUID}": answer}
    with pytest.raises(error) as caught:
        fetched(f"https://chatgpt.com/share/{UUID}")
    assert type(caught.value) is error


def test_a_redirect_within_the_host_is_followed(host: type[Host]) -> None:
    host.answers = {f"/share/{UUID}": (301, {"Location": "/moved"}, b""), "/moved": (200, {}, b"here")}
    assert fetched(f"https://chatgpt.com/share/{UUID}") == b"here"


def test_endless_pages_are_cut(host: type[Host], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "MAX_BYTES", 1000)
    host.answers = {f"/share/{UUID}": (200, {}, b"x" * 5000)}
    with pytest.raises(TooLarge):
        fetched(f"https://chatgpt.com/share/{UUID}")


def test_a_name_that_points_into_a_private_network_is_not_asked(
    host: type[Host], monkeypatch: pytest.MonkeyPatch, settings: pytest.MonkeyPatch
) -> None:
    """The default address, and a resolver somebody else controls."""
    settings.delenv("CHATGPT_SHARE_URL")
    monkeypatch.setattr(shares.socket, "getaddrinfo", lambda *_a, **_k: [(2, 1, 6, "", ("127.0.0.1", 443))])
    with pytest.raises(Blocked, match="private network"):
        fetched(f"https://chatgpt.com/share/{UUID}")
    assert host.asked == []


def test_a_host_that_is_not_there(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("CHATGPT_SHARE_URL", "http://127.0.0.1:9")
    with pytest.raises(Unavailable):
        fetched(f"https://chatgpt.com/share/{UUID}")


def test_challenges_are_pages() -> None:
    assert is_challenge(CHALLENGE)
    assert not is_challenge(b'{"text": "<title>Just a moment</title>"}')
    assert not is_challenge(b"")
