"""Pages of share links, made on the spot: our own encoder for what a React Router page carries."""

from __future__ import annotations

import base64
import json
import quopri
from collections.abc import Callable, Sequence
from typing import Any

from tests.exports import Json, chatgpt_message

URL = "https://chatgpt.com/share/67aa0000-0000-8000-8000-000000000001"


def turbo_stream(value: Any) -> str:
    """Version 2, without promises: equal scalars stand once."""
    pool: list[Any] = []
    known: dict[tuple[str, Any], int] = {}

    def add(value: Any) -> int:
        if value is None:
            return -5
        scalar = isinstance(value, str | int | float | bool)
        if scalar and (type(value).__name__, value) in known:
            return known[type(value).__name__, value]
        index = len(pool)
        if scalar:
            known[type(value).__name__, value] = index
        pool.append(value)
        if isinstance(value, dict):
            pool[index] = {f"_{add(key)}": add(item) for key, item in value.items()}
        elif isinstance(value, list):
            pool[index] = [add(item) for item in value]
        return index

    add(value)
    return json.dumps(pool)


def shared_data(
    turns: Sequence[tuple[str, str]] = (("user", "Hello?"), ("assistant", "Hello.")), title: str = "Shared"
) -> Json:
    nodes = [
        {"id": f"n{number}", "message": chatgpt_message(f"n{number}", role, text), "children": [], "parent": None}
        for number, (role, text) in enumerate(turns)
    ]
    return {"title": title, "linear_conversation": nodes, "model": {"slug": "gpt-5"}, "is_public": True}


def routed(data: Any) -> Json:
    return {
        "loaderData": {
            "root": {"x": 1},
            "routes/share.$shareId.($action)": {"serverResponse": {"type": "data", "data": data}},
        }
    }


def new_page(*chunks: str) -> bytes:
    """One script for each chunk of the stream."""
    scripts = "".join(
        f"<script>window.__reactRouterContext.streamController.enqueue({json.dumps(chunk)});</script>"
        for chunk in chunks
    )
    return _page(scripts)


def old_page(data: Any) -> bytes:
    props = {"props": {"pageProps": {"serverResponse": {"type": "data", "data": data}}}}
    return _page(f'<script id="__NEXT_DATA__" type="application/json">{json.dumps(props)}</script>')


def _page(inside: str) -> bytes:
    head = f'<!DOCTYPE html><html><head><title>ChatGPT</title><link rel="canonical" href="{URL}"/></head>'
    return f"{head}<body>{inside}</body></html>".encode()


# --- Claude and Grok, as browsers save them ---

CLAUDE_URL = "https://claude.ai/share/12c19487-c220-439e-a053-5d66f00ab6b0"
GROK_URL = "https://grok.com/share/bGVnYWN5_f85d5448-fc22-4a72-bc3e-335e89fffea2"


def saved_page(body: str, title: str, url: str | None) -> bytes:
    """`url`: as Chromium writes down where it saved a page from."""
    said = f"<!-- saved from url=({len(url):04}){url} -->\n" if url else ""
    menu = '<nav><a href="/">Menu</a></nav><button><svg><path d="M1 2>3"/></svg>Share</button>'
    script = '<script>const x = "<div data-testid=\\"user-message\\">no</div>";</script>'
    return (
        f'<!DOCTYPE html>\n{said}<html><head><meta charset="utf-8"><title>{title}</title>{script}'
        f"<style>.a>b{{color:red}}</style></head><body>{menu}{body}</body></html>"
    ).encode()


def claude_asked(inside: str) -> str:
    return (
        '<div data-test-render-count="1"><div class="group relative [&amp;>p]:mt-1">'
        f'<div data-testid="user-message" class="font-large !font-user-message grid">{inside}</div></div></div>'
    )


def claude_said(inside: str, around: str = "") -> str:
    """`around`: what stands in the answer beside its prose."""
    return (
        '<div data-test-render-count="1"><div data-is-streaming="false"><div class="font-claude-response relative '
        f'[&_.standard-markdown]:pl-2 [&>p]:m-0">{around}<div><div class="standard-markdown grid">{inside}</div></div>'
        '</div><div class="actions"><button aria-label="Copy">Copy</button><span class="sr-only">Copied</span></div>'
        "</div></div>"
    )


def claude_page(*messages: str, title: str = "Roses | Claude", url: str | None = CLAUDE_URL) -> bytes:
    return saved_page(f"<main>{''.join(messages)}</main>", title, url)


def grok_bubble(inside: str, *, asked: bool = False, id: str = "") -> str:
    side = "items-end" if asked else "items-start"
    text = f'<div class="response-content-markdown markdown">{inside}</div>' if not asked else inside
    return (
        f'<div id="response-{id}" class="relative group flex flex-col justify-center w-full {side}">'
        f'<div class="message-bubble rounded-3xl"><div class="relative">{text}</div></div>'
        '<div class="action-buttons"><button>Like</button><span>1.2s</span></div></div>'
    )


def grok_page(*messages: str, title: str = "Roses | Shared Grok Conversation", url: str | None = GROK_URL) -> bytes:
    return saved_page(f'<div class="flex items-start">{"".join(messages)}</div>', title, url)


def flight_page(*rows: str, title: str, url: str | None, pieces: int = 3) -> bytes:
    """Rows as Next.js streams them, cut anywhere."""
    stream = "".join(row if ":T" in row[:10] else f"{row}\n" for row in rows)
    size = -(-len(stream) // pieces)
    cut = [stream[at : at + size] for at in range(0, len(stream), size)]
    pushed = "".join(f"<script>self.__next_f.push({json.dumps([1, piece])})</script>" for piece in cut)
    return saved_page(f"<script>self.__next_f.push([0])</script>{pushed}", title, url)


# --- ChatGPT, as a browser shows it ---


def chatgpt_asked(text: str, id: str = "asked") -> str:
    return (
        '<article data-turn="user"><h5 class="sr-only">You said:</h5><div class="text-base">'
        f'<div data-message-author-role="user" data-message-id="{id}" class="min-h-8 flex items-end">'
        f'<div class="user-message-bubble-color"><div class="whitespace-pre-wrap">{text}</div></div></div></div>'
        "</article>"
    )


def chatgpt_said(inside: str, id: str = "said") -> str:
    return (
        '<article data-turn="assistant"><h6 class="sr-only">ChatGPT said:</h6><div class="text-base">'
        f'<div data-message-author-role="assistant" data-message-id="{id}" class="min-h-8"><div class="flex w-full">'
        f'<div class="markdown prose w-full break-words">{inside}</div></div></div></div>'
        '<div class="flex"><button aria-label="Copy">Copy</button></div></article>'
    )


def chatgpt_page(*messages: str, title: str = "ChatGPT - Roses", url: str | None = URL) -> bytes:
    return saved_page(f"<main>{''.join(messages)}</main>", title, url)


# --- the same in a single file ---

BOUNDARY = "----MultipartBoundary--kQ2mCb0dZ1xYl7bW3Tn9VhRj5uEoSaGpXfLiDwNq----"
_WRITTEN: dict[str, Callable[[bytes], bytes]] = {
    "quoted-printable": lambda data: quopri.encodestring(data).replace(b"\n", b"\r\n"),
    "base64": lambda data: base64.encodebytes(data).replace(b"\n", b"\r\n"),
    "binary": lambda data: data,
}
STYLE = b'@charset "utf-8";\r\n--not-a-boundary\r\n.a { color: red }'


def mhtml_part(data: bytes, kind: str, encoding: str = "quoted-printable", more: str = "") -> bytes:
    head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n{more}\r\n"
    return head.encode() + _WRITTEN[encoding](data)


def mhtml(*parts: bytes, url: str | None = None, kind: str = "multipart/related") -> bytes:
    """As Chrome and Edge write a “Webpage, single file”; `url` is where it was saved from."""
    where = f"Snapshot-Content-Location: {url}\r\n" if url else ""
    head = (
        f"From: <Saved by Blink>\r\n{where}Subject: =?utf-8?Q?Roses?=\r\nDate: Tue, 4 Mar 2025 10:00:00 -0000\r\n"
        f'MIME-Version: 1.0\r\nContent-Type: {kind};\r\n\ttype="text/html";\r\n\tboundary="{BOUNDARY}"\r\n\r\n\r\n'
    )
    return head.encode() + b"".join(b"--%b\r\n%b\r\n" % (BOUNDARY.encode(), part) for part in parts) + _LAST


_LAST = f"--{BOUNDARY}--\r\n".encode()


def single_file(page: bytes, url: str | None = None, encoding: str = "quoted-printable") -> bytes:
    """With a stylesheet behind the page."""
    return mhtml(mhtml_part(page, "text/html", encoding), mhtml_part(STYLE, "text/css"), url=url)
