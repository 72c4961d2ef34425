"""Known hosts, one spelling, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import Unusable
from config.share_links import parse_link

UUID = "68a1b2c3-d4e5-6789-abcd-ef0123456789"


@pytest.mark.parametrize(
    ("text", "source", "kept"),
    [
        (f"https://chatgpt.com/share/{UUID}", "chatgpt", f"https://chatgpt.com/share/{UUID}"),
        (f" https://chat.openai.com/share/{UUID}/?utm=1#x ", "chatgpt", f"https://chatgpt.com/share/{UUID}"),
        (f"https://chatgpt.com/share/e/{UUID}", "chatgpt", f"https://chatgpt.com/share/{UUID}"),
        ("https://chatgpt.com/s/t_68a1b2c3", "chatgpt", "https://chatgpt.com/s/t_68a1b2c3"),
        (f"https://claude.ai/share/{UUID}", "claude", f"https://claude.ai/share/{UUID}"),
        (f"https://grok.com/share/bGVnYWN5%3D_{UUID}", "grok", f"https://grok.com/share/bGVnYWN5=_{UUID}"),
        (
            "https://v2.branchprompt.com/conversation/0123456789abcdef01234567",
            "branchprompt",
            "https://v2.branchprompt.com/conversation/0123456789abcdef01234567",
        ),
    ],
)
def test_links_have_one_spelling(text: str, source: str, kept: str) -> None:
    link = parse_link(text)
    assert (link.source, link.url) == (source, kept)
    assert parse_link(kept) == link


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "https://example.com/share/x",
        f"https://chatgpt.com.evil.test/share/{UUID}",
        f"https://evil.test/chatgpt.com/share/{UUID}",
        f"https://chatgpt.com@evil.test/share/{UUID}",
        f"https://user@chatgpt.com/share/{UUID}",
        f"https://chatgpt.com:8080/share/{UUID}",
        f"ftp://chatgpt.com/share/{UUID}",
        f"file:///share/{UUID}",
        "https://chatgpt.com/share/../backend-api/me",
        f"https://chatgpt.com/share/{UUID}/../../x",
        "https://claude.ai/chat/1",
        "https://[::1",
        "https://chatgpt.com:99999/share/x",
    ],
)
def test_other_links_are_refused(text: str) -> None:
    with pytest.raises(Unusable):
        parse_link(text)


@given(st.text())
def test_any_text_is_a_link_or_refused(text: str) -> None:
    with pytest.raises(Unusable):
        parse_link("https://chatgpt.com/share/" + text.replace("-", "_"))
