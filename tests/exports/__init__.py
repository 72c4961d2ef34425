"""ChatGPT exports made on the spot: small ones from what a test says, big ones from a seed. None is ever stored."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import Any
from uuid import UUID

Json = dict[str, Any]
Turn = tuple[str, str]  # role, text

JANUARY_2025 = 1_735_689_600.0
DAY = 86_400.0


def chatgpt_message(
    id: str,
    role: str | None,
    text: str | None = "",
    *,
    content: Any = None,
    metadata: Json | None = None,
    time: Any = JANUARY_2025,
    **more: Any,
) -> Json:
    """A message as the export has it; `content` replaces the usual text content, `more` any other key."""
    return {
        "id": id,
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": time,
        "update_time": None,
        "content": {"content_type": "text", "parts": [text]} if content is None else content,
        "status": "finished_successfully",
        "end_turn": True,
        "weight": 1.0,
        "metadata": metadata or {},
        "recipient": "all",
        "channel": None,
    } | more


def chatgpt_node(id: str, parent: str | None, message: Json | None, children: Sequence[str] = ()) -> Json:
    return {"id": id, "message": message, "parent": parent, "children": list(children)}


def chatgpt_conversation(
    id: str,
    title: str | None = "A conversation",
    turns: Sequence[Turn] = (("user", "Hello?"), ("assistant", "Hello.")),
    create_time: Any = JANUARY_2025,
    model: str = "gpt-4o",
    **more: Any,
) -> Json:
    """One straight conversation with the empty root and the empty system message that real ones begin with."""
    messages: list[tuple[str, Json | None]] = [(f"{id}-root", None), (f"{id}-system", chatgpt_message("", "system"))]
    for number, (role, text) in enumerate(turns):
        message_id = f"{id}-{number}"
        said = (create_time or JANUARY_2025) + 10.0 * number
        metadata = {"model_slug": model} if role == "assistant" else {}
        messages.append((message_id, chatgpt_message(message_id, role, text, time=said, metadata=metadata)))
    ids = [message_id for message_id, _ in messages]
    mapping = {
        message_id: chatgpt_node(message_id, ids[at - 1] if at else None, message, ids[at + 1 : at + 2])
        for at, (message_id, message) in enumerate(messages)
    }
    return chatgpt_tree(id, mapping, ids[-1], title=title, create_time=create_time, model=model, **more)


def chatgpt_tree(
    id: str,
    mapping: Any,
    current_node: str | None = None,
    *,
    title: str | None = "A conversation",
    create_time: Any = JANUARY_2025,
    model: str = "gpt-4o",
    **more: Any,
) -> Json:
    """A conversation around a mapping of the test's own making."""
    return {
        "title": title,
        "create_time": create_time,
        "update_time": create_time,
        "mapping": mapping,
        "moderation_results": [],
        "current_node": current_node,
        "plugin_ids": None,
        "conversation_id": id,
        "conversation_template_id": None,
        "gizmo_id": None,
        "is_archived": False,
        "safe_urls": [],
        "default_model_slug": model,
        "id": id,
    } | more


def chatgpt_json(conversations: Sequence[Any]) -> bytes:
    return json.dumps(list(conversations)).encode()


def chatgpt_zip(
    conversations: Sequence[Any],
    shards: int | None = None,
    extra: Mapping[str, bytes] | None = None,
    manifest: bool = True,
) -> bytes:
    """The export's zip: one conversations.json, or `shards` numbered files and (unless told) their manifest."""
    files: dict[str, bytes] = {"user.json": b"{}", "message_feedback.json": b"[]", "chat.html": b"<html></html>"}
    if shards is None:
        files["conversations.json"] = chatgpt_json(conversations)
    else:
        per_shard = -(-len(conversations) // shards) or 1
        names = [f"conversations-{number:03}.json" for number in range(shards)]
        for number, name in enumerate(names):
            files[name] = chatgpt_json(conversations[number * per_shard : (number + 1) * per_shard])
        if manifest:
            logical = {"conversations.json": {"files": names, "sharded": True}}
            files["export_manifest.json"] = json.dumps({"version": 1, "logical_files": logical}).encode()
    return zip_of(files | dict(extra or {}))


def zip_of(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def forged_zip(data: bytes, local: int, central: int, form: str, value: int) -> bytes:
    """The first entry with one field overwritten, at these offsets in its local header and in the list of entries."""
    forged = bytearray(data)
    struct.pack_into(form, forged, data.index(b"PK\x03\x04") + local, value)
    struct.pack_into(form, forged, data.index(b"PK\x01\x02") + central, value)
    return bytes(forged)


def encrypted_zip(files: Mapping[str, bytes]) -> bytes:
    """The first entry says that it is encrypted."""
    return forged_zip(zip_of(files), 6, 8, "<H", 1)


# --- big exports ---

_TOPICS = {
    "gardening": "tomato seedling compost pruning soil watering frost greenhouse mulch harvest rose basil root light",
    "databases": "index query transaction table join replica vacuum lock migration schema row planner cache backup",
    "cooking": "onion simmer butter oven dough stock garlic lemon skillet roast sauce pepper whisk flour thyme",
    "astronomy": "galaxy telescope orbit nebula comet eclipse planet star redshift moon spectrum mirror dust lens",
    "music": "chord melody rhythm scale violin piano tempo harmony chorus bass verse octave drum interval singer",
    "travel": "train ticket hostel museum harbour passport luggage map ferry market bridge village coast route",
    "python": "function module thread exception generator import decorator test package loop string iterator class",
    "health": "sleep exercise protein stretching breathing posture walking vitamin recovery muscle knee balance",
}
_COMMON = """the of and to in a is that it for you with as on are this be can or from by at not your which will one when
if so keep change check begin compare explain measure avoid choose improve build try notice remember follow mix usually
often slowly carefully first then again mostly rather quite perhaps clearly nearly still"""


class _Writer:
    """English-like sentences about one topic at a time, drawn from a pool made once: a hundred megabytes in seconds."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pools = {topic: [self._sentence(words.split()) for _ in range(1500)] for topic, words in _TOPICS.items()}

    def _sentence(self, nouns: list[str]) -> str:
        vocabulary = _COMMON.split() + nouns * 2
        weights = list(accumulate(1 / (1 + rank) ** 0.6 for rank in range(len(vocabulary))))
        words = self.random.choices(vocabulary, cum_weights=weights, k=self.random.randint(6, 22))
        words.insert(self.random.randrange(len(words)), self.random.choice(nouns))
        if self.random.random() < 0.1:
            words.append(str(self.random.randint(2, 2000)))
        end = self.random.choices([".", "?", ":", " — naïve, but true.", " 🙂"], weights=[80, 10, 4, 3, 1])[0]
        return " ".join(words).capitalize() + end

    def text(self, topic: str, sentences: int) -> str:
        draw = self.random.random
        pieces: list[str] = []
        for sentence in self.random.choices(self.pools[topic], k=sentences):
            pieces.append(sentence)
            pieces.append("\n\n" if draw() < 0.15 else "\n- " if draw() < 0.05 else " ")
        if draw() < 0.08:
            pieces.append(f"\n```python\ndef step_{self.random.randint(1, 999)}(value):\n    return value + 1\n```\n")
        return "".join(pieces).strip()

    def id(self) -> str:
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def conversation(self) -> Json:
        topic = self.random.choice(list(_TOPICS))
        started = JANUARY_2025 + self.random.random() * 400 * DAY
        ids = [self.id() for _ in range(2 + 2 * min(60, 1 + int(self.random.expovariate(1 / 5))))]
        mapping: Json = {}
        for at, node_id in enumerate(ids):
            role = "system" if at == 1 else "user" if at % 2 == 0 else "assistant"
            words = 0 if at == 1 else max(1, int(self.random.expovariate(1 / (3 if role == "user" else 14))))
            message = None
            if at:
                message = chatgpt_message(
                    node_id,
                    role,
                    self.text(topic, words),
                    time=started + 30.0 * at + self.random.random(),
                    metadata=_usual_metadata(self.id(), role),
                )
            mapping[node_id] = chatgpt_node(node_id, ids[at - 1] if at else None, message, ids[at + 1 : at + 2])
        title = " ".join(self.random.sample(_TOPICS[topic].split(), 3)).capitalize()
        return chatgpt_tree(self.id(), mapping, ids[-1], title=title, create_time=started)


def _usual_metadata(request_id: str, role: str) -> Json:
    if role != "assistant":
        return {
            "request_id": request_id,
            "timestamp_": "absolute",
            "serialization_metadata": {"custom_symbol_offsets": []},
        }
    return {
        "finish_details": {"type": "stop", "stop_tokens": [200002]},
        "is_complete": True,
        "citations": [],
        "content_references": [],
        "message_type": "next",
        "model_slug": "gpt-4o",
        "default_model_slug": "gpt-4o",
        "parent_id": request_id,
        "request_id": request_id,
        "timestamp_": "absolute",
    }


def big_conversations(seed: int = 0) -> Iterator[Json]:
    """Endless; the same seed gives the same conversations."""
    writer = _Writer(seed)
    while True:
        yield writer.conversation()


def write_big_export(path: Path, megabytes: float, seed: int = 0) -> int:
    """Write a conversations.json of about that size (10**6 bytes each); returns how many conversations it holds."""
    with path.open("wb") as file:
        return _write_until(file.write, int(megabytes * 1_000_000), seed)


def _write_until(write: Callable[[bytes], int], size: int, seed: int) -> int:
    written, count = write(b"["), 0
    for conversation in big_conversations(seed):
        written += write((b", " if count else b"") + json.dumps(conversation).encode())
        count += 1
        if written >= size:
            break
    write(b"]")
    return count


def some_conversations(count: int, seed: int = 0) -> list[Json]:
    return list(islice(big_conversations(seed), count))
