"""What BranchPrompt's API says of a conversation, in one document."""

from __future__ import annotations

from tests.exports.local import as_json
from tests.workers.importers.reading import only, read, reasons, shown

MESSAGES = [
    {"role": "user", "content": "Read this", "files": [{"name": "a.txt", "content": "A"}, {"description": "a cat"}]},
    {"role": "assistant", "content": "Done."},
    {"role": "system", "content": "Be kind."},
]


def test_a_conversation() -> None:
    found = only(as_json({"branchprompt": "6f00", "title": "T", "messages": MESSAGES}), "branchprompt")
    assert (found.native_id, found.title) == ("6f00", "T")
    assert found.url == "https://v2.branchprompt.com/conversation/6f00"
    files = "[file: a.txt]\n\n```\nA\n```\n\n[file: unnamed]\n\n```\na cat\n```"
    assert shown(found) == [("user", f"Read this\n\n{files}"), ("assistant", "Done.")]
    assert found.messages[2].visibility == "hidden"


def test_no_messages() -> None:
    assert reasons(read(as_json({"branchprompt": "6f00", "messages": None}), "branchprompt"))
