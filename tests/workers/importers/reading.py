"""What the tests of every importer ask of what was read."""

from __future__ import annotations

import io
from typing import Any

from workers.importers.detect import importer_for
from workers.importers.ports import ImportedConversation, ImportedMessage, ImportFailure, ImportItem


def read(data: bytes, source: str, start: int = 0, name: str = "upload.bin") -> list[ImportItem]:
    """Recognised by content alone, then read."""
    importer = importer_for(io.BytesIO(data), name)
    assert importer.source == source
    items = list(importer.read(io.BytesIO(data), start))
    assert [item.index for item in items] == list(range(start, start + len(items)))
    done = [item.bytes_done for item in items]
    assert done == sorted(done)
    assert all(0 <= item.bytes_done <= item.bytes_total for item in items)
    return items


def found_in(items: list[ImportItem]) -> list[ImportedConversation]:
    return [item.found for item in items if isinstance(item.found, ImportedConversation)]


def reasons(items: list[ImportItem]) -> list[str]:
    return [item.found.reason for item in items if isinstance(item.found, ImportFailure)]


def only(data: bytes, source: str) -> ImportedConversation:
    items = read(data, source)
    assert not reasons(items)
    (found,) = found_in(items)
    check(found)
    return found


def check(found: Any) -> ImportedConversation:
    """A tree: every id once, parents before children, the path's end in it."""
    assert isinstance(found, ImportedConversation)
    seen: set[str] = set()
    for message in found.messages:
        assert message.native_id not in seen
        assert message.parent_native_id is None or message.parent_native_id in seen
        seen.add(message.native_id)
    assert found.current_native_id in seen or not seen
    assert found.native_id
    assert found.title
    return found


def path(found: ImportedConversation) -> list[ImportedMessage]:
    """What is on the way to the current message, hidden ones among it."""
    known = {message.native_id: message for message in found.messages}
    at, walked = found.current_native_id, []
    while at is not None:
        walked.append(known[at])
        at = known[at].parent_native_id
    return walked[::-1]


def shown(found: ImportedConversation) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in path(found) if message.visibility == "visible"]


def kinds(found: ImportedConversation) -> list[tuple[str, str]]:
    return [(message.role, message.visibility) for message in path(found)]


def assert_resumes(data: bytes, source: str) -> None:
    everything = read(data, source)
    for start in range(len(everything) + 2):
        assert read(data, source, start) == everything[start:]
