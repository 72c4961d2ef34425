"""Fetches what a share link shows: from the four hosts that make such links, and from nowhere else.

A link is data from a stranger. Only its id is taken from it; the address that is asked is ours, must not lie in a
private network, and may redirect within its own host only. What comes back is read by the importers as if a person had
saved and uploaded it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import orjson

from config.errors import Blocked, ChatNotFound, TooLarge, Unavailable
from config.settings import MIB, Settings
from config.share_links import ShareLink

MAX_BYTES = 64 * MIB
TIMEOUT_S = 20.0  # without a byte
TOTAL_S = 120.0
MAX_REDIRECTS = 3

SAVE_IT = "Open the link in a browser, save the page and upload the file, or use the data export."
# Pages that are shown instead of the conversation, also with HTTP 200.
_CHALLENGE = re.compile(
    rb"<title>\s*Just a moment|challenge-platform|cf-chl|_cf_chl_opt|Attention Required!", re.IGNORECASE
)
_BROWSER = {"User-Agent": "Backchannel (importing a conversation its owner shared)", "Accept-Language": "en"}


def fetch(link: ShareLink, settings: Settings, cancelled: Callable[[], bool] = lambda: False) -> bytes:
    """The page, or the JSON that the page is made from. Raises ChatNotFound, Blocked, TooLarge, Unavailable."""
    base, is_ours = _base(link.source, settings)
    with httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False, headers=_BROWSER) as client:
        get = _Getter(client, base, is_ours, cancelled).get
        match link.source:
            case "chatgpt":
                return get(urlsplit(link.url).path)
            case "claude":
                return get(f"/api/chat_snapshots/{link.id}?rendering_mode=messages&render_all_tools=true")
            case "grok":
                return get(f"/rest/app-chat/share_links/{link.id}")
            case _:
                return _branchprompt(link, get)


def _branchprompt(link: ShareLink, get: Callable[[str], bytes]) -> bytes:
    """Two answers of its API as one document, told apart from other JSON by its first key."""
    about, said = (get(f"/api/conversations/{link.id}{rest}") for rest in ("", "/messages"))
    try:
        return orjson.dumps({"branchprompt": link.id, **orjson.loads(about), "messages": orjson.loads(said)})
    except (orjson.JSONDecodeError, TypeError):
        raise Blocked(f"The link answered with something else than its conversation. {SAVE_IT}") from None


def _base(source: str, settings: Settings) -> tuple[str, bool]:
    """Where it is asked, and whether the owner has set that address: then it may be any."""
    own = getattr(settings, f"{source}_share_url")
    default = type(settings).model_fields[f"{source}_share_url"].default
    return own.rstrip("/"), own != default


@dataclass(slots=True)
class _Getter:
    client: httpx.Client
    base: str
    is_ours: bool
    cancelled: Callable[[], bool]

    def get(self, path: str) -> bytes:
        url = self.base + path
        for _ in range(MAX_REDIRECTS + 1):
            moved, body = self._once(url)
            if moved is None:
                return body
            if (
                urlsplit(moved).netloc != urlsplit(self.base).netloc
                or urlsplit(moved).scheme != urlsplit(self.base).scheme
            ):
                raise Blocked(f"The link leads somewhere else now, most likely to a sign-in page. {SAVE_IT}")
            url = moved
        raise Blocked(f"The link leads in circles. {SAVE_IT}")

    def _once(self, url: str) -> tuple[str | None, bytes]:
        """(where it moved to, the body)."""
        try:
            request = self._request(url)
            response = self.client.send(request, stream=True)
            try:
                if response.is_redirect:
                    return str(httpx.URL(url).join(response.headers["location"])), b""
                return None, self._body(response)
            finally:
                response.close()
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Unavailable(f"The link could not be reached ({type(error).__name__}).") from error

    def _request(self, url: str) -> httpx.Request:
        """To the address that was looked at: a name may point elsewhere when it is asked for again."""
        parsed = httpx.URL(url)
        if self.is_ours:
            return self.client.build_request("GET", parsed)
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
        found = socket.getaddrinfo(parsed.host, port, type=socket.SOCK_STREAM)
        addresses = [str(address[4][0]) for address in found]
        if not addresses or not all(is_public(address) for address in addresses):
            raise Blocked("The link's host lies in a private network, which is not asked.")
        return self.client.build_request(
            "GET",
            parsed.copy_with(host=addresses[0]),
            headers={"Host": parsed.host},
            extensions={"sni_hostname": parsed.host},
        )

    def _body(self, response: httpx.Response) -> bytes:
        if response.status_code in (404, 410):
            raise ChatNotFound("There is no shared conversation behind this link; it may have been deleted.")
        if response.status_code >= 500 and response.headers.get("cf-mitigated") is None:
            raise Unavailable(f"The link's host answered {response.status_code}.")
        until, body = time.monotonic() + TOTAL_S, bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > MAX_BYTES:
                raise TooLarge(f"What the link shows is larger than {MAX_BYTES // MIB} MiB.")
            if self.cancelled() or time.monotonic() > until:
                raise Unavailable("The link took too long to answer.")
        if response.status_code != 200 or is_challenge(bytes(body)):
            raise Blocked(f"The link's host does not show the conversation to servers. {SAVE_IT}")
        return bytes(body)


def is_challenge(page: bytes) -> bool:
    """A page that asks whether you are human, instead of the conversation."""
    return page[:64].lstrip()[:1] == b"<" and _CHALLENGE.search(page[:200_000]) is not None


def is_public(address: str) -> bool:
    """False for loopback, private, link-local, reserved and multicast addresses, also when written inside IPv6."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast
