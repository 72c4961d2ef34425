"""Conversation trees as files have them: circles, orphans, several roots, chains of any length. Nothing recurses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from workers.importers.ports import ImportedMessage

Parents = dict[str, str | None]

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


def break_circles(parents: Parents) -> int:
    """Make a root, in place, of one node in every circle: the one first reached in file order. Returns how many."""
    cut = 0
    done: set[str] = set()
    for start in parents:
        walked: dict[str, None] = {}
        node: str | None = start
        while node is not None and node not in done:
            if node in walked:
                parents[node] = None
                cut += 1
                break
            walked[node] = None
            node = parents[node]
        done.update(walked)
    return cut


def parents_first(parents: Parents, siblings: Callable[[str, list[str]], list[str]]) -> list[str]:
    """Every node once, depth first. `siblings(parent, children)` puts the children of a node in order."""
    roots: list[str] = []
    children: dict[str, list[str]] = {}
    for node, parent in parents.items():
        if parent is None:
            roots.append(node)
        else:
            children.setdefault(parent, []).append(node)
    ordered: list[str] = []
    waiting = roots[::-1]
    while waiting:
        node = waiting.pop()
        ordered.append(node)
        below = children.get(node)
        if below is None:
            continue
        if len(below) > 1:
            below = siblings(node, below)[::-1]
        waiting.extend(below)
    return ordered


def latest_leaf(messages: Sequence[ImportedMessage]) -> str | None:
    """Where a file does not say which branch is shown: the newest leaf, the deepest of equals.

    Without any times that is the end of the longest path. Messages come parents first.
    """
    depth: dict[str, int] = {}
    for message in messages:
        depth[message.native_id] = depth.get(message.parent_native_id or "", 0) + 1
    inner = {message.parent_native_id for message in messages}
    leaves = [message for message in messages if message.native_id not in inner]
    newest = max(
        leaves,
        key=lambda leaf: (leaf.created_at or _BEFORE_ALL, depth[leaf.native_id]),
        default=None,
    )
    return newest.native_id if newest else None
