"""Grok exports made on the spot, in both generations and as a share link shows them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.exports import Json, zip_of


def grok_response(
    id: str | None, sender: str, message: str, parent: str | None = None, minute: int = 0, **more: Any
) -> Json:
    """As of 2026: `_id`, times as MongoDB writes them, no parent where there is none."""
    said = {"$date": {"$numberLong": str(1_750_000_000_000 + 60_000 * minute)}}
    raw: Json = {"_id": id, "sender": sender, "message": message, "create_time": said}
    raw |= {"parent_response_id": parent} if parent else {}
    return {"response": {key: value for key, value in raw.items() if value is not None} | more, "share_link": None}


def grok_conversation(
    id: str, title: str = "A conversation", responses: Sequence[Any] | None = None, **more: Any
) -> Json:
    if responses is None:
        responses = [
            grok_response(f"{id}-0", "human", "Hello?"),
            grok_response(f"{id}-1", "ASSISTANT", "Hello.", f"{id}-0", 1, model="grok-4"),
        ]
    about = {
        "id": id,
        "title": title,
        "create_time": "2025-06-15T15:06:40Z",
        "modify_time": "2025-06-15T16:00:00Z",
    } | more
    return {"conversation": about, "responses": list(responses)}


def grok_old(id: str, title: str = "A conversation") -> Json:
    """As of mid-2025."""
    said = "2025-06-15T15:06:40.000Z"
    responses = [
        {"response_id": f"{id}-0", "sender": "human", "message": "Hello?", "create_time": said},
        {
            "response_id": f"{id}-1",
            "sender": "grok-3",
            "message": "Hello.",
            "create_time": said,
            "parent_response_id": f"{id}-0",
        },
    ]
    about = {"conversation_id": id, "title": title, "create_time": said, "leaf_response_id": f"{id}-1"}
    return {"conversation": about, "responses": [{"response": response} for response in responses]}


def grok_share(id: str, title: str = "A conversation") -> Json:
    responses = [
        {"responseId": "r0", "sender": "human", "message": "", "query": "Hello?", "createTime": "2025-06-15T15:06:40Z"},
        {
            "responseId": "r1",
            "sender": "ASSISTANT",
            "message": "Hello.",
            "createTime": "2025-06-15T15:06:41Z",
            "parentResponseId": "r0",
            "model": "grok-4",
        },
    ]
    return {"conversation": {"conversationId": id, "title": title}, "responses": responses}


def grok_json(conversations: Sequence[Any]) -> bytes:
    return json.dumps({"conversations": list(conversations), "projects": [], "tasks": [], "media_posts": []}).encode()


def grok_zip(conversations: Sequence[Any], separator: str = "/") -> bytes:
    folder = f"ttl/30d/export_data{separator}7d6f"
    return zip_of(
        {
            f"{folder}/prod-mc-auth-mgmt-api.json": b'{"sessions": []}',
            f"{folder}/prod-mc-billing.json": b"{}",
            f"{folder}/prod-mc-asset-server/a1/content": b"\x89PNG",
            f"{folder}/prod-grok-backend.json": grok_json(conversations),
        }
    )
