"""Memories of a person, from a mem0 server: what was learnt in earlier talks and belongs to this one."""

from __future__ import annotations

from typing import Any

import httpx

from config.errors import ProviderRefused, ProviderUnavailable
from config.settings import Settings

MIN_SCORE = 0.38  # below it memories are about something else
MOST = 4
MAX_MEMORY_CHARS = 2000


def search(settings: Settings, query: str) -> list[str]:
    """The memories that fit, best first. Raises ProviderUnavailable, ProviderRefused."""
    body = {"query": query, "user_id": settings.mem0_user_id, "metadata": {"type": "summary"}}
    try:
        with httpx.Client(timeout=settings.mem0_timeout_s, trust_env=False) as client:
            answer = client.post(f"{settings.mem0_api_url.rstrip('/')}/search", json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ProviderUnavailable(f"The memory service did not answer ({type(error).__name__}).") from error
    if not answer.is_success:
        kind = ProviderUnavailable if answer.status_code in (408, 425, 429) or answer.status_code >= 500 else None
        raise (kind or ProviderRefused)(f"The memory service answered {answer.status_code}.")
    try:
        return _best(answer.json())
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise ProviderRefused("The memory service answered something that is no list of memories.") from None


def _best(body: Any) -> list[str]:
    """Servers of an older version answer with the bare list."""
    found = body["results"] if isinstance(body, dict) else body
    scored = [(float(one["score"]), str(one["memory"])) for one in found if one.get("memory")]
    fitting = sorted((one for one in scored if one[0] >= MIN_SCORE), key=lambda one: -one[0])
    usable = (memory.encode("utf-8", "replace").decode().replace("\0", "") for _, memory in fitting)
    return [memory[:MAX_MEMORY_CHARS] for memory in usable if memory.strip()][:MOST]
