"""Grok's data export (`prod-grok-backend.json`, alone or in its zip) and the JSON behind its share links.

Both generations of the export are read, and the share's spelling: conversation_id, conversationId, id and _id are one.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from workers.importers import values
from workers.importers.archive import Member
from workers.importers.json_importer import JsonImporter
from workers.importers.markup import cut
from workers.importers.ports import ImportedConversation, ImportFailure
from workers.importers.turns import (
    PREVIOUS,
    Head,
    Json,
    Notes,
    Turn,
    an_object,
    any_text,
    conversation,
    first_of,
    objects,
    text_or_none,
)

SOURCE = "grok"

_CITED = ("cited_web_search_results", "citedWebSearchResults")
_BACKEND = "prod-grok-backend.json"
_PEOPLE = ("human", "user")
_FILES = (
    ("generated_image_urls", "image"),
    ("generatedImageUrls", "image"),
    ("image_attachments", "image"),
    ("imageAttachments", "image"),
    ("file_attachments", None),
    ("fileAttachments", None),
    ("file_attachments_metadata", None),
)


class GrokImporter(JsonImporter):
    source = SOURCE
    marks = ("responses",)

    def is_mine(self, element: Any) -> bool | None:
        if not isinstance(element, dict):
            return None
        return isinstance(element.get("responses"), list) and (
            isinstance(element.get("conversation"), dict) or "conversation_id" in element
        )

    def is_usual(self, member: Member) -> bool:
        return member.name == _BACKEND

    def convert(self, element: Any) -> ImportedConversation | ImportFailure:
        return grok_conversation(element)


def grok_conversation(raw: Any) -> ImportedConversation | ImportFailure:
    if not isinstance(raw, dict):
        return ImportFailure("this is not an object, as a conversation would be")
    about = an_object(raw.get("conversation")) or raw
    identifier = _id(about, "conversation_id", "conversationId", "id", "_id")
    responses = raw.get("responses")
    if not isinstance(responses, list):
        title = values.title(about.get("title")) if about.get("title") else None
        return ImportFailure("it has no list of `responses`, as a Grok conversation would", identifier, title)
    notes: Notes = Counter()
    unwrapped = [an_object(item.get("response")) or item for item in objects(responses)]
    if len(unwrapped) < len(responses):
        notes["a response is not an object and was skipped"] += len(responses) - len(unwrapped)
    head = Head(
        native_id=identifier,
        title=about.get("title"),
        begun=_time(first_of(about, "create_time", "createTime")),
        changed=_time(first_of(about, "modify_time", "modifyTime")),
        current=_id(about, "leaf_response_id", "leafResponseId"),
        url=f"https://grok.com/c/{identifier}"
        if identifier and re.fullmatch(r"[\w-]+", identifier, re.ASCII)
        else None,
        is_archived=about.get("archived") is True,
        metadata={key: True for key in ("starred", "temporary") if about.get(key) is True}
        | (
            {"system_prompt_name": about["system_prompt_name"]} if text_or_none(about.get("system_prompt_name")) else {}
        ),
    )
    return conversation(SOURCE, head, _in_order([_turn(response, notes) for response in unwrapped]), notes)


def _in_order(turns: list[Turn]) -> list[Turn]:
    """Where no response names its parent they follow each other in time; else one without a parent begins a branch,
    or is another answer to the question before it."""
    if all(turn.parent is None for turn in turns):
        if all(turn.created_at for turn in turns):
            turns.sort(key=lambda turn: turn.created_at.timestamp() if turn.created_at else 0.0)
        for turn in turns:
            turn.parent = PREVIOUS
        return turns
    question: str | None = None
    for turn in turns:
        if turn.parent is None and turn.role == "assistant":
            turn.parent = question
        if turn.role == "user":
            question = turn.native_id
    return turns


def _turn(raw: Json, notes: Notes) -> Turn:
    sender = first_of(raw, "sender", "role")
    is_person = isinstance(sender, str) and sender.lower() in _PEOPLE
    if not sender:
        notes["a message without an author was taken as the assistant's"] += 1
    named = isinstance(sender, str) and sender.lower() not in (*_PEOPLE, "assistant")  # one generation: the model
    model = first_of(raw, "model", "modelName") or (sender if named else None)
    turn = Turn(
        native_id=_id(raw, "response_id", "responseId", "_id", "id"),
        parent=_id(raw, "parent_response_id", "parentResponseId"),
        role="user" if is_person else "assistant",
        model=None if is_person else text_or_none(model),
        created_at=values.moment(_time(first_of(raw, "create_time", "createTime"))),
    )
    if raw.get("isControl") is True or raw.get("is_control") is True:
        turn.visibility = "hidden"
    _reasoning(raw, turn)
    _say(first_of(raw, "message", "query"), turn)
    _files(raw, turn)
    for source in objects(first_of(raw, *_CITED)):
        turn.cite(source.get("url"), source.get("title"))
    if raw.get("partial") is True:
        turn.parts["status"] = "partial"
    error = first_of(raw, "error", "errorMessage")
    if error:
        turn.parts["error"] = any_text(error)[:2000] or "unknown"
        if not turn.shown:
            turn.say(f"[error: {values.one_line(any_text(error))[:500]}]")
    return turn


def _say(message: Any, turn: Turn) -> None:
    text = message if isinstance(message, str) else any_text(message)
    if "<xai:" in text or "<grok:" in text:
        text, cards = cut(text, "xai:tool_usage_card")
        for card in cards:
            turn.call("tool_usage_card", card.text)
        # The app draws a number or a card in their place; what they cite is listed under the text.
        text, _ = cut(text, "grok:render")
    turn.say(text)


def _reasoning(raw: Json, turn: Turn) -> None:
    turn.think(first_of(raw, "thinking_trace", "thinkingTrace"))
    for trace in objects(first_of(raw, "agent_thinking_traces", "agentThinkingTraces")):
        turn.think(first_of(trace, "thinking_trace", "thinkingTrace"))
    steps = raw.get("steps")
    if isinstance(steps, list) and steps:
        turn.call("steps", steps)
    if found := objects(first_of(raw, "web_search_results", "webSearchResults")):
        listed = [f"- {values.link(any_text(page.get('title')), any_text(page.get('url')))}" for page in found]
        turn.result("\n".join(listed), "web_search")


def _files(raw: Json, turn: Turn) -> None:
    for key, kind in _FILES:
        given = raw.get(key) if key in raw else None
        for file in given if given and isinstance(given, list) else ():
            if isinstance(file, str):
                turn.attach(**{"url" if "/" in file else "id": file[:2000]}, kind=kind)
            elif isinstance(file, dict):
                turn.attach(
                    id=_id(file, "file_metadata_id", "fileMetadataId", "id", "_id", "asset_id"),
                    name=first_of(file, "file_name", "fileName", "name"),
                    mime_type=first_of(file, "file_mime_type", "fileMimeType", "mime_type"),
                    kind=kind,
                )
    if turn.attachments and not turn.shown:
        images = sum(file.get("kind") == "image" for file in turn.attachments)
        turn.say("\n".join(["[image]"] * images))


def _id(raw: Json, *keys: str) -> str | None:
    """Plain, or as MongoDB writes it: {"$oid": "…"}."""
    given = first_of(raw, *keys)
    if isinstance(given, dict):
        given = first_of(given, "$oid", "$uuid")
    return values.native_id(given)


def _time(given: Any) -> Any:
    """Plain, or as MongoDB writes it: {"$date": {"$numberLong": "milliseconds"}} or {"$date": "ISO"}."""
    for key in ("$date", "$numberLong"):
        if isinstance(given, dict) and key in given:
            given = given[key]
    return given
