"""Links to shared conversations: which hosts make them, and one spelling for each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from config.errors import Unusable

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_LINKS = (
    ("chatgpt", ("chatgpt.com", "www.chatgpt.com", "chat.openai.com"), rf"/share/(?:e/)?({_UUID})|/s/([\w-]{{4,80}})"),
    ("claude", ("claude.ai", "www.claude.ai"), rf"/share/({_UUID})"),
    ("grok", ("grok.com", "www.grok.com"), r"/share/([\w=-]{4,160})"),
    ("branchprompt", ("v2.branchprompt.com",), r"/conversation/([0-9a-f]{24})"),
)
KNOWN = (
    "Links of chatgpt.com/share, claude.ai/share, grok.com/share and v2.branchprompt.com/conversation can be imported."
)


@dataclass(frozen=True, slots=True)
class ShareLink:
    """`url` is how the link is kept: one spelling for all."""

    source: str
    id: str
    url: str


def parse_link(text: str) -> ShareLink:
    """Raises Unusable for what is no share link of a known host."""
    try:
        parts = urlsplit(text.strip())
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise Unusable(f"That is no link. {KNOWN}") from None
    path = unquote(parts.path).rstrip("/")
    for source, hosts, pattern in _LINKS:
        if host in hosts and parts.scheme in ("https", "http") and port in (None, 80, 443) and not parts.username:
            match = re.fullmatch(pattern, path)
            if match:
                found = next(group for group in match.groups() if group)
                return ShareLink(source, found, f"https://{hosts[0]}{match.group(0).replace('/share/e/', '/share/')}")
    raise Unusable(f"That is not a link to a shared conversation. {KNOWN}")
