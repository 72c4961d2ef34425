"""What a ChatGPT message says, as Markdown: one small function per content type.

A content type that nobody has described yet keeps whatever text it holds, and the conversation's notes count it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from workers.importers.ports import Visibility
from workers.importers.values import fenced, link, one_line, quoted, scalar, whole

Json = dict[str, Any]


@dataclass(slots=True)
class Rendered:
    """`visibility` is None where the content type leaves that to the author and the recipient.

    `unknown` names a content type, of the message or of a part, that this page does not know.
    """

    text: str = ""
    content_type: str = "text"
    visibility: Visibility | None = None
    unknown: str | None = None
    attachments: list[Json] = field(default_factory=list)
    image_title: str = ""  # of a generated image whose prompt is not told


def render(content: Any, metadata: Json) -> Rendered:
    if isinstance(content, str):  # hand-made and third-party files
        content = {"content_type": "text", "parts": [content]}
    if not isinstance(content, dict):
        content = {}
    given = content.get("content_type")
    content_type = given if isinstance(given, str) else "text"
    rendered = Rendered(content_type=content_type)
    attachments = metadata.get("attachments")
    if attachments:
        rendered.attachments = _attachments(attachments)
    rendered.image_title = _string(metadata, "image_gen_title")
    if content_type in ("text", "multimodal_text"):
        rendered.text = _parts(content, rendered)
    elif content_type in _BLOCKS:
        rendered.visibility, block = _BLOCKS[content_type]
        rendered.text = block(content)
    else:
        rendered.unknown = content_type
        rendered.text = _parts(content, rendered) or _any_text(content)
    return rendered


# --- text and what is mixed into it ---


def _parts(content: Json, rendered: Rendered) -> str:
    parts = content.get("parts")
    if parts is None:
        parts = content.get("text")
    if isinstance(parts, str):
        return parts
    if not isinstance(parts, list):
        return ""
    if len(parts) == 1 and isinstance(parts[0], str):  # nearly all of them
        return parts[0]
    pieces = (part if isinstance(part, str) else _piece(part, parts, rendered) for part in parts)
    return "\n\n".join(piece for piece in pieces if piece)


def _piece(part: Any, parts: list[Any], rendered: Rendered) -> str:
    if not isinstance(part, dict):
        return ""
    kind = part.get("content_type")
    if kind == "image_asset_pointer":
        return _image(part, rendered)
    if kind == "real_time_user_audio_video_asset_pointer" and isinstance(part.get("audio_asset_pointer"), dict):
        part = part["audio_asset_pointer"]
        kind = "audio_asset_pointer"
    if kind == "audio_asset_pointer":
        _attach(rendered, part, "audio")
        spoken = any(isinstance(other, dict) and other.get("content_type") == "audio_transcription" for other in parts)
        return "" if spoken else "[audio]"
    if kind not in ("audio_transcription", "text", None):
        rendered.unknown = one_line(scalar(kind))[:80]
    return _any_text(part)


def _image(part: Json, rendered: Rendered) -> str:
    attachment = _attach(rendered, part, "image")
    metadata = part.get("metadata")
    dalle = metadata.get("dalle") if isinstance(metadata, dict) else None
    prompt = dalle.get("prompt") if isinstance(dalle, dict) else None
    if isinstance(prompt, str) and prompt:
        attachment["prompt"] = prompt
    label = one_line(str(attachment.get("prompt") or attachment.get("name") or rendered.image_title))
    return f"[image: {label}]" if label else "[image]"


def _attachments(given: Any) -> list[Json]:
    found: list[Json] = []
    for entry in given if isinstance(given, list) else []:
        if not isinstance(entry, dict):
            continue
        attachment = {
            "id": entry.get("id"),
            "name": entry.get("name"),
            "mime_type": entry.get("mime_type") or entry.get("mimeType"),
            "size": whole(entry.get("size")),
        }
        found.append({key: value for key, value in attachment.items() if isinstance(value, str | int)})
    return found


def _attach(rendered: Rendered, part: Json, kind: str) -> Json:
    """The attachment a pointer stands for: the one the metadata lists under the same id, else a new one."""
    pointer = part.get("asset_pointer")
    identifier = pointer.rpartition("://")[2] if isinstance(pointer, str) else None
    attachment = next((known for known in rendered.attachments if identifier and known.get("id") == identifier), None)
    if attachment is None:
        attachment = {"id": identifier} if identifier else {}
        rendered.attachments.append(attachment)
    attachment["kind"] = kind
    for key, given in (("width", "width"), ("height", "height"), ("size", "size_bytes")):
        number = whole(part.get(given))
        if number is not None:
            attachment[key] = number
    return attachment


# --- whole content types ---


def _code(content: Json) -> str:
    text, language = _string(content, "text"), _string(content, "language")
    if not language.isalnum() or language == "unknown":
        language = ""
    return fenced(text, language) if text else ""


def _output(content: Json) -> str:
    text = _string(content, "text", "output_str")
    return fenced(text) if text else ""


def _quote(content: Json) -> str:
    url = _string(content, "url")
    name = _string(content, "title", "domain") or url
    source = link(name, url) if url else one_line(name)
    return "\n".join(line for line in (quoted(_string(content, "text")), f"> — {source}" if source else "") if line)


def _page(content: Json) -> str:
    url, text = _string(content, "url"), _string(content, "text", "snippet", "result", "summary")
    return "\n\n".join(piece for piece in (link(_string(content, "title"), url) if url else "", text) if piece)


def _thoughts(content: Json) -> str:
    pieces: list[str] = []
    thoughts = content.get("thoughts")
    for thought in thoughts if isinstance(thoughts, list) else []:
        if isinstance(thought, dict):
            summary, text = one_line(_string(thought, "summary")), _string(thought, "content")
            pieces += [f"**{summary}**" if summary else "", text]
    return "\n\n".join(piece for piece in pieces if piece)


def _context(content: Json) -> str:
    keys = ("user_profile", "user_instructions", "model_set_context", "repository", "repo_summary")
    return "\n\n".join(piece for piece in (_string(content, key) for key in keys) if piece)


def _any_text(content: Json) -> str:
    return _string(content, "text", "result", "content", "output_str", "summary", "output", "name")


def _string(content: Json, *keys: str) -> str:
    """The first of these that holds text."""
    for key in keys:
        value = content.get(key)
        if isinstance(value, str) and value:
            return value
    return ""


_BLOCKS: dict[str, tuple[Visibility | None, Callable[[Json], str]]] = {
    "code": (None, _code),
    "tether_quote": (None, _quote),
    "execution_output": ("tool", _output),
    "computer_output": ("tool", _any_text),
    "citable_code_output": ("tool", _output),
    "tether_browsing_code": ("tool", _code),
    "tether_browsing_display": ("tool", _page),
    "sonic_webpage": ("tool", _page),
    "system_error": ("tool", _any_text),
    "thoughts": ("reasoning", _thoughts),
    "reasoning_recap": ("reasoning", _any_text),
    "user_editable_context": ("hidden", _context),
    "model_editable_context": ("hidden", _context),
}
