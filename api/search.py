"""/api/search and FAITHH's rag_search: both answered by the index worker, whose model stays loaded."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import get, post
from litestar.params import Parameter

from api.intake import AnyRequest
from api.schemas import SearchIn
from api.threads import waiting
from config.queues import SEARCH_QUEUE
from config.settings import get_settings
from storage import queue

Json = dict[str, Any]
SEARCH_TASK = "search.query"


@get("/api/search", tags=["search"], summary="Find conversations by title and meaning")
async def search(
    request: AnyRequest,
    q: Annotated[str, Parameter(min_length=1, max_length=2000)],
    limit: Annotated[int, Parameter(ge=1, le=100)] = 20,
    offset: Annotated[int, Parameter(ge=0, le=1000)] = 0,
) -> Json:
    question = {"mode": "search", "owner_id": request.user.id, "text": _clean(q), "limit": limit, "offset": offset}
    found: Json = await waiting(queue.ask, SEARCH_TASK, SEARCH_QUEUE, question, get_settings().search_timeout_s)
    return {"query": q, **found}


@post("/api/rag_search", status_code=200, tags=["search"], summary="The passages a chat would be given")
async def rag_search(request: AnyRequest, data: SearchIn) -> Json:
    question = {"mode": "passages", "owner_id": request.user.id, "text": _clean(data.query), "limit": data.n_results}
    found: list[Json] = await waiting(queue.ask, SEARCH_TASK, SEARCH_QUEUE, question, get_settings().search_timeout_s)
    results = [
        {
            "text": row["text"],
            "conversation_id": row["conversation_id"],
            "title": row["conversation_title"],
            "message_id": row["message_id"],
            "score": round(row["score"], 4),
        }
        for row in found
    ]
    return {"success": True, "query": data.query, "results": results, "count": len(results)}


def _clean(text: str) -> str:
    return text.encode(errors="replace").decode().replace("\0", " ")
