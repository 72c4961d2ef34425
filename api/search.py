"""/api/search and FAITHH's rag_search: both answered by the index worker, whose model stays loaded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from litestar import get, post
from litestar.params import FromQuery, Parameter

from api.intake import AnyRequest
from api.schemas import SearchIn
from api.threads import waiting
from config.settings import get_settings
from storage import enquiries
from storage.filters import ConversationKind, Status

Json = dict[str, Any]
SEARCH = "search.query"
QUERY = 'Words, `"a phrase"`, `-without`, a URL, when it was: `in March 2024`, `2024-03-09`, `last week`'


@get("/api/search", tags=["search"], summary="Find conversations by address, title, words and meaning")
async def search(  # noqa: PLR0913, PLR0917 - one per query parameter
    request: AnyRequest,
    q: Annotated[str, Parameter(min_length=1, max_length=2000, description=QUERY)],
    limit: Annotated[int, Parameter(ge=1, le=100)] = 20,
    offset: Annotated[int, Parameter(ge=0, le=1000)] = 0,
    status: FromQuery[Status | None] = None,
    sort_by: FromQuery[Literal["relevance", "updated_at", "created_at", "title"]] = "relevance",
    sort_dir: FromQuery[Literal["asc", "desc"]] = "desc",
    source: FromQuery[str | None] = None,
    kind: FromQuery[ConversationKind | None] = None,
    since: Annotated[datetime | None, Parameter(description="Changed at this time or later")] = None,
    until: Annotated[datetime | None, Parameter(description="Changed before this time")] = None,
    has_attachment: FromQuery[bool | None] = None,
) -> Json:
    filters = {
        "status": status,
        "source": source,
        "kind": kind,
        "since": _utc(since),
        "until": _utc(until),
        "has_attachment": has_attachment,
    }
    question = {
        "mode": "search",
        "owner_id": request.user.id,
        "text": _clean(q),
        "limit": limit,
        "offset": offset,
        "filters": {name: value for name, value in filters.items() if value is not None},
        "sort": (sort_by, sort_dir),
    }
    found: Json = await waiting(enquiries.ask, SEARCH, question, get_settings().search_timeout_s)
    return {"query": q, **found}


def _utc(moment: datetime | None) -> str | None:
    """A time without a zone is taken as UTC."""
    return None if moment is None else (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


@post("/api/rag_search", status_code=200, tags=["search"], summary="The passages a chat would be given")
async def rag_search(request: AnyRequest, data: SearchIn) -> Json:
    question = {"mode": "passages", "owner_id": request.user.id, "text": _clean(data.query), "limit": data.n_results}
    found: Json = await waiting(enquiries.ask, SEARCH, question, get_settings().search_timeout_s)
    results = [
        {
            "text": row["text"],
            "conversation_id": row["conversation_id"],
            "title": row["conversation_title"],
            "message_id": row["message_id"],
            "score": round(row["score"], 4),
        }
        for row in found["passages"]
    ]
    found_all = {"results": results, "count": len(results), "degraded": found["degraded"]}
    return {"success": True, "query": data.query, **found_all}


def _clean(text: str) -> str:
    return text.encode(errors="replace").decode().replace("\0", " ")
