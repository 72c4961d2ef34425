"""Which importer reads a file; and, where none does, what the file is and what would be read instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

from config.errors import UnreadableImport
from workers.importers.archive import Member, Upload
from workers.importers.backchannel import BackchannelImporter
from workers.importers.chatgpt import ChatGPTImporter
from workers.importers.json_stream import Element, elements, sample
from workers.ports import Importer

IMPORTERS: tuple[Importer, ...] = (ChatGPTImporter(), BackchannelImporter())

ACCEPTED = "Accepted are ChatGPT's conversations.json and the zip of ChatGPT's data export."
_MAX_LOOKED_AT = 20  # JSON entries of a zip

_SIGNATURES = (
    (b"SQLite format 3\0", "an SQLite database"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)


def importer_for(file: IO[bytes], filename: str) -> Importer:
    """The importer that recognises the content; the name only helps to say what was found.

    Raises UnreadableImport with a sentence for the person who uploaded it. Leaves the file's position anywhere.
    """
    upload = Upload(file, filename)
    if upload.size == 0:
        raise UnreadableImport(f"The file is empty. {ACCEPTED}")
    for importer in IMPORTERS:
        if importer.recognise(file, filename):
            return importer
    raise UnreadableImport(f"{_zip_holds(upload) if upload.is_zip else _file_is(upload)} {ACCEPTED}")


def _zip_holds(upload: Upload) -> str:
    members = upload.members
    documents = [member for member in members if member.name.lower().endswith(".json")]
    if any(member.is_encrypted for member in documents or members):
        return "The zip is encrypted; make one without a password."
    # Conversations first: the other files of an export say little about whose it is.
    documents.sort(key=lambda member: "conversation" not in member.name.lower())
    known = _foreign(upload, documents)
    if known:
        return known
    inner = next((member for member in members if member.name.lower().endswith(".zip")), None)
    if inner:
        return f"The zip holds another zip (“{inner.name}”), which is not opened; upload that one by itself."
    if documents and "conversation" in documents[0].name.lower():
        return _json_is(upload, documents[0])
    if documents:
        return "The zip holds JSON, but no ChatGPT conversations."
    return "The zip holds no conversations.json." if members else "The zip is empty."


def _file_is(upload: Upload) -> str:
    member = upload.members[0]
    head = upload.open(member).read(4096)
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return f"The file is {name}."
    if head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n").startswith("<"):
        return "The file is a web page (HTML), not the export's JSON."
    return _foreign(upload, [member]) or _json_is(upload, member)


def _json_is(upload: Upload, member: Member) -> str:
    subject = f"“{member.name}” in the zip" if upload.is_zip else "The file"
    first = next(elements(upload.open(member)), None)
    if first is None:
        return f"{subject} is an empty list: it holds no conversations."
    if isinstance(first, Element):
        return f"{subject} is JSON, but not ChatGPT conversations."
    if member.name.lower().endswith(".zip"):
        return "The file is called .zip but is none: it may have been cut short or renamed."
    return f"{subject} cannot be read: {first.reason}."


# --- other providers, by what only they have ---


def _foreign(upload: Upload, documents: list[Member]) -> str | None:
    """Whose export it is, else what kept that from being seen."""
    problem = None
    for member in documents[:_MAX_LOOKED_AT]:
        try:
            found = sample(upload.open(member), count=5)
        except UnreadableImport as error:
            problem = problem or error.detail
            continue
        for name, matches in _PROVIDERS.items():
            if any(isinstance(element, dict) and matches(element) for element in found):
                return f"This looks like {name} export, which this version cannot read yet."
    return problem


def _is_deepseek(element: dict[str, Any]) -> bool:
    mapping = element.get("mapping")
    nodes = mapping.values() if isinstance(mapping, dict) else ()
    messages = (node.get("message") for node in nodes if isinstance(node, dict))
    return any(isinstance(message, dict) and "fragments" in message for message in messages)


def _is_open_webui(element: dict[str, Any]) -> bool:
    chat = element.get("chat")
    return isinstance(chat, dict) and ("history" in chat or "messages" in chat)


_PROVIDERS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "a Claude": lambda element: "chat_messages" in element,
    "a DeepSeek": _is_deepseek,
    "a Grok": lambda element: "responses" in element and "conversation" in element,
    "a Gemini": lambda element: "header" in element and "time" in element,
    "an Open WebUI": _is_open_webui,
    "a LibreChat": lambda element: "conversationId" in element and bool({"messages", "messagesTree"} & element.keys()),
}
