"""One record of Gemini's activity log, and what a thread of them becomes."""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from workers.importers import values
from workers.importers.html_markdown import markdown
from workers.importers.ports import ImportedConversation, ImportFailure
from workers.importers.turns import PREVIOUS, Head, Json, Notes, Turn, an_object, any_text, conversation, objects

SOURCE = "gemini"

THREAD = re.compile(r"gemini\.google\.com/(?:u/\d+/)?(?:app|gem/[\w-]+)/([\w-]{6,64})", re.ASCII)
PRODUCT = re.compile(r"gemini|bard", re.IGNORECASE)
_ENGLISH = ("Prompted with: ", "Asked Gemini: ", "Asked Bard: ", "Prompted ", "Asked ", "Said ")
_TOLD = re.compile(r"(?:Used (?:Gemini|Bard)\b|Gave feedback:).*")  # what the log notes down, and nobody said
_MADE = ("Created ",)  # what Gemini did, rather than what it was asked
_ATTACHED = re.compile(r"\s*Attached \d+ files?\.?\s*$")
_FILES = ("attachedFiles", "imageFile", "audioFiles")
_FEW = 5  # titles from which nothing is learned
_USUAL_SHARE = 0.8  # of the titles begin with the same words


@dataclass(slots=True)
class Record:
    title: str
    when: datetime | None
    answer: str  # HTML
    thread: str | None = None
    attachments: list[Json] = field(default_factory=list)
    subtitles: list[str] = field(default_factory=list)
    pages: list[tuple[str, str]] = field(default_factory=list)  # address and title of what the answer cites
    unknown_zone: str | None = None

    @property
    def key(self) -> str:
        """What names it in every export, as it has no id."""
        return values.digest(self.when.isoformat() if self.when else "", self.title)


def json_record(raw: Any) -> Record | ImportFailure | None:
    """None for another product's activity."""
    if not isinstance(raw, dict):
        return ImportFailure("this is not an object, as a record of the activity log would be")
    thread = _thread(raw)
    if thread is None and not _is_ours(raw):
        return None
    title, answer = _exchange(raw)
    if "userInteractions" in raw and not answer.strip():
        return ImportFailure("a record of the activity log is of a form that is not known")
    if not title.strip() and not answer.strip():
        return ImportFailure("a record of the activity log has neither title nor answer")
    record = Record(title, values.moment(raw.get("time")), answer, thread)
    for subtitle in objects(raw.get("subtitles")):
        _subtitle(subtitle, record)
    for key in _FILES:
        if given := raw.get(key):
            for file in given if isinstance(given, list) else [given]:
                name = file if isinstance(file, str) else any_text(an_object(file), "name", "fileName", "url")
                if name:
                    record.attachments.append({"name": name[:500]} | ({"kind": "image"} if key == "imageFile" else {}))
    return record


def json_glance(raw: Any) -> tuple[str | None, str, bool] | None:
    """The thread, the title, and whether there is an answer: all that a first look over a log needs."""
    if not isinstance(raw, dict):
        return None
    thread = _thread(raw)
    if thread is None and not _is_ours(raw):
        return None
    return thread, any_text(raw.get("title")), bool(raw.get("safeHtmlItem"))


def _thread(raw: Json) -> str | None:
    url = raw.get("titleUrl")
    if isinstance(url, str) and (found := THREAD.search(url)):
        return found.group(1)
    for detail in objects(raw.get("details")):
        url = detail.get("url")
        if isinstance(url, str) and (found := THREAD.search(url)):
            return found.group(1)
    return None


def _is_ours(raw: Json) -> bool:
    products = raw.get("products")
    labels = [raw.get("header"), *(products if isinstance(products, list) else [])]
    return any(isinstance(label, str) and PRODUCT.search(label) for label in labels)


def _exchange(raw: Json) -> tuple[str, str]:
    """The prompt and the answer. Descriptions of the format also know both as details, by name and without markup."""
    title, answer = any_text(raw.get("title")), _answer(raw.get("safeHtmlItem"))
    for detail in objects(raw.get("details")):
        said = detail.get("value")
        if not isinstance(said, str) or not said.strip():
            continue
        if detail.get("name") == "Response":
            answer = html.escape(said).replace("\n", "<br>")
        else:
            title = said
    return title, answer


def _answer(items: Any) -> str:
    answers = [any_text(item, "html", "htmlValue") for item in objects(items if isinstance(items, list) else [items])]
    return "\n".join(answers)


def _subtitle(subtitle: Json, record: Record) -> None:
    """Names of attached files stand there, with an address that is none; pages the answer cites; and notices."""
    name, url = any_text(subtitle, "name"), subtitle.get("url")
    if isinstance(url, str) and url.startswith(("http://", "https://")):
        record.pages.append((url, name))
    elif url and name:
        record.attachments.append({"name": name.lstrip("-\xa0 ")[:500]})
    elif name and not _ATTACHED.fullmatch(name):
        record.subtitles.append(name)


def prefixes_of(titles: list[str]) -> tuple[str, ...]:
    """What the account's language writes before a prompt: “Prompted ”, “送信したメッセージ: ”, “Pokyn ”."""
    foreign = [title for title in titles if not title.startswith(_ENGLISH)]
    if len(foreign) < _FEW:
        return _ENGLISH
    beginnings = Counter(_beginning(title) for title in foreign)
    usual, count = beginnings.most_common(1)[0]
    return (*_ENGLISH, usual) if usual and count >= _USUAL_SHARE * len(foreign) else _ENGLISH


def _beginning(title: str) -> str:
    """Up to a colon near the beginning, else the first word."""
    found = re.match(r"[^\n::]{1,40}[::]\s*", title) or re.match(r"\S{1,40}\s+", title)
    return found.group() if found else ""


def as_conversation(records: list[Record], prefixes: tuple[str, ...]) -> ImportedConversation:
    notes: Notes = Counter()
    beginning = datetime.min.replace(tzinfo=UTC)
    records = records[::-1]  # the file has the newest first
    records.sort(key=lambda record: record.when or beginning)
    first, thread = records[0], records[0].thread
    turns = [turn for record in records for turn in _turns(record, prefixes, notes)]
    head = Head(
        native_id=thread or first.key,
        title=None if any(turn.role == "user" and turn.shown for turn in turns) else first.title,
        begun=first.when.isoformat() if first.when else None,
        url=f"https://gemini.google.com/app/{thread}" if thread else None,
    )
    return conversation(SOURCE, head, turns, notes)


def _turns(record: Record, prefixes: tuple[str, ...], notes: Notes) -> list[Turn]:
    made, key = record.title.startswith(_MADE), record.key
    prompt = Turn(f"{key}:asked", PREVIOUS, "assistant" if made else "user", created_at=record.when)
    is_told = not record.answer.strip() and _TOLD.fullmatch(record.title) is not None
    text = "" if is_told else record.title
    prefix = next((prefix for prefix in prefixes if text.startswith(prefix)), "")
    prompt.say(_ATTACHED.sub("", text[len(prefix) :]) if prefix else text)
    for attachment in record.attachments:
        prompt.attach(**attachment)
    for subtitle in record.subtitles:
        prompt.say(subtitle)
    answer = Turn(f"{key}:answer", PREVIOUS, "assistant", created_at=record.when)
    answer.say(markdown(record.answer))
    for url, title in record.pages:
        answer.cite(url, title)
    if record.unknown_zone:
        notes[f"the time zone “{values.title(record.unknown_zone)}” is not known; its times were taken as UTC"] += 1
    return [prompt, answer]
