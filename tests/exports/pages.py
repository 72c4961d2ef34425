"""Pages of share links, made on the spot: our own encoder for what a React Router page carries."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
