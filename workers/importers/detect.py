"""Which importer reads a file; and, where none does, what the file is and what would be read instead."""

from __future__ import annotations

from typing import IO

from config.errors import UnreadableImport
from workers.importers.archive import Member, Upload
from workers.importers.backchannel import BackchannelImporter
from workers.importers.branchprompt import BranchPromptImporter
from workers.importers.chatgpt import ChatGPTImporter
from workers.importers.chatgpt_share import ChatGPTShareImporter
from workers.importers.claude import ClaudeImporter
from workers.importers.claude_share import ClaudeShareImporter
from workers.importers.deepseek import DeepSeekImporter
from workers.importers.gemini import GeminiImporter
from workers.importers.grok import GrokImporter
from workers.importers.grok_share import GrokShareImporter
from workers.importers.json_importer import json_documents
from workers.importers.json_stream import Element, elements, sample
from workers.importers.librechat import LibreChatImporter
from workers.importers.llm_logs import LLMLogsImporter
from workers.importers.mhtml import is_mhtml
from workers.importers.open_webui import OpenWebUIImporter
from workers.importers.ports import Importer
from workers.importers.web_page import page_text
from workers.shares import is_challenge

# The likeliest first; each looks at the content, so that no file is two of them.
IMPORTERS: tuple[Importer, ...] = (
    ChatGPTImporter(),
    BackchannelImporter(),
    ClaudeImporter(),
    GrokImporter(),
    GeminiImporter(),
    OpenWebUIImporter(),
    LibreChatImporter(),
    DeepSeekImporter(),
    LLMLogsImporter(),
    ClaudeShareImporter(),
    GrokShareImporter(),
    ChatGPTShareImporter(),
    BranchPromptImporter(),
)

ACCEPTED = (
    "Accepted are the exports of ChatGPT, Claude, Grok, DeepSeek, Gemini (Takeout), Open WebUI, LibreChat and llm, "
    "and our own, each as it comes or in its zip, and saved pages of the share links of ChatGPT, Claude and Grok."
)
MAX_HEAD = 256 << 10  # bytes of a page
_MAX_LOOKED_AT = 20  # JSON entries of a zip

_SIGNATURES = (
    (b"SQLite format 3\0", "an SQLite database, but not the log of llm"),
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
    raise UnreadableImport(f"{_zip_holds(upload) if upload.is_zip else _file_is(upload, file)} {ACCEPTED}")


def _zip_holds(upload: Upload) -> str:
    members = upload.members
    documents = json_documents(upload)
    if any(member.is_encrypted for member in documents or members):
        return "The zip is encrypted; make one without a password."
    # Conversations first: the other files of an export say little about whose it is.
    documents.sort(key=lambda member: "conversation" not in member.name.lower())
    problem = next((problem for member in documents[:_MAX_LOOKED_AT] if (problem := _damage(upload, member))), None)
    if problem:
        return problem
    inner = next((member for member in members if member.name.lower().endswith(".zip")), None)
    if inner:
        return f"The zip holds another zip (“{inner.name}”), which is not opened; upload that one by itself."
    if documents and "conversation" in documents[0].name.lower():
        return _json_is(upload, documents[0])
    if documents:
        return "The zip holds JSON, but no conversations of a kind that is known."
    return "The zip holds no conversations.json, nor anything else that is known." if members else "The zip is empty."


def _damage(upload: Upload, member: Member) -> str | None:
    """What keeps an entry of a zip from being looked at."""
    try:
        sample(upload.open(member), count=1)
    except UnreadableImport as error:
        return error.detail
    return None


def _file_is(upload: Upload, file: IO[bytes]) -> str:
    member = upload.members[0]
    head = upload.open(member).read(MAX_HEAD)
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return f"The file is {name}."
    if is_mhtml(head):
        page = page_text(file)
        if page is None:
            return "The file is of the kind that holds a web page (MHTML), but none that can be read."
        head = page[:MAX_HEAD].encode()
    if is_challenge(head):
        return "The file is a page that asks whether a person is there, saved in place of the conversation behind it."
    if head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n").startswith("<"):
        return "The file is a web page (HTML), but holds no conversation of a kind that is known."
    return _json_is(upload, member)


def _json_is(upload: Upload, member: Member) -> str:
    subject = f"“{member.name}” in the zip" if upload.is_zip else "The file"
    first = next(elements(upload.open(member)), None)
    if first is None:
        return f"{subject} is an empty list: it holds no conversations."
    if isinstance(first, Element):
        if not first.value:
            return f"{subject} is empty JSON: it holds no conversations."
        return f"{subject} is JSON, but holds no conversations of a kind that is known."
    if member.name.lower().endswith(".zip"):
        return "The file is called .zip but is none: it may have been cut short or renamed."
    return f"{subject} cannot be read: {first.reason}."
