"""Gemini's activity log as Google Takeout gives it, as JSON and as the page that is the default."""

from __future__ import annotations

import html
from typing import Any

from tests.exports import Json


def gemini_record(prompt: str, answer: str | None = "<p>Hello.</p>", minute: int = 0, **more: Any) -> Json:
    """`prompt` with the words before it, as in “Prompted Hello?”."""
    return (
        {
            "header": "Gemini Apps",
            "title": prompt,
            "time": f"2025-07-01T10:{minute:02}:00.123Z",
            "products": ["Gemini Apps"],
            "activityControls": ["Gemini Apps Activity"],
        }
        | ({"safeHtmlItem": [{"html": answer}]} if answer is not None else {})
        | more
    )


def of_thread(id: str) -> Json:
    return {"details": [{"name": "From Gemini", "url": f"https://gemini.google.com/app/{id}"}]}


def gemini_cell(
    prompt: str, answer: str, date: str, header: str = "Gemini Apps", files: str = "", caption: str = ""
) -> str:
    """One record of the page. `prompt` and `answer` are HTML."""
    body = 'class="content-cell mdl-cell mdl-cell--6-col mdl-typography--body-1'
    return (
        '<div class="outer-cell mdl-cell mdl-cell--12-col mdl-shadow--2dp"><div class="mdl-grid">'
        '<div class="header-cell mdl-cell mdl-cell--12-col"><p class="mdl-typography--title">'
        f'{header}<br></p></div><div {body}">{prompt}<br>{files}{date}<br>{answer}</div>'
        f'<div {body} mdl-typography--text-right"></div>'
        '<div class="content-cell mdl-cell mdl-cell--12-col mdl-typography--caption">'
        f"<b>Products:</b><br>&emsp;{html.escape(header)}<br>{caption}</div></div></div>"
    )


def gemini_page(*cells: str) -> bytes:
    style = "<style>.mdl-grid{display:flex}</style>" * 20
    return f"<html><head><title>My Activity</title>{style}</head><body>{''.join(cells)}</body></html>".encode()
