"""Are the right conversations among the first five? By kind of question, of the hybrid search and of its parts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks import labelled
from benchmarks.bench import Bench
from benchmarks.house import House
from benchmarks.labelled import KINDS, Question
from benchmarks.processes import wait_until
from benchmarks.report import Table

FIRST = 5
LIMIT_S = 300.0
HYBRID = "hybrid"


def measure(bench: Bench) -> Table:
    questions = labelled.questions()
    with House(bench.folder / "house") as house:
        house.start("chroma", "index")
        side = house.peer("benchmarks.retrieval_side")
        bench.say("importing and embedding")
        count = side.call("write")
        wait_until(lambda: not _unindexed(house), LIMIT_S, "the embedding", every_s=0.2)
        bench.say(f"{len(questions)} questions in four ways")
        found: dict[str, list[list[str]]] = side.call("ask")
    return _table(count, questions, found)


def _unindexed(house: House) -> int:
    return int(str(house.sql("SELECT count(*) FROM conversation WHERE indexed_version < content_version")[0][0]))


def recall(questions: Sequence[Question], found: Sequence[Sequence[str]]) -> float:
    """Of what is right, the share among the first five; the mean over the questions."""
    return statistics.fmean(
        len(question.right.intersection(keys[:FIRST])) / len(question.right)
        for question, keys in zip(questions, found, strict=True)
    )


def reciprocal_rank(questions: Sequence[Question], found: Sequence[Sequence[str]]) -> float:
    """One over the place of the first right one; the mean over the questions."""
    return statistics.fmean(
        next((1 / place for place, key in enumerate(keys, 1) if key in question.right), 0.0)
        for question, keys in zip(questions, found, strict=True)
    )


def _table(count: int, questions: list[Question], found: dict[str, list[list[str]]]) -> Table:
    ours = HYBRID
    rows, data = [], {}
    for name, keys in found.items():
        of_kind = {kind: _of(kind, None, questions, keys) for kind in (*KINDS, None)}
        cells = [f"{recall(*pairs):.2f} · {reciprocal_rank(*pairs):.2f}" for pairs in of_kind.values()]
        halves = [recall(*_of(None, tuned, questions, keys)) for tuned in (True, False)]
        rows.append((name, *cells, " / ".join(f"{half:.2f}" for half in halves)))
        data[name] = {str(kind): [recall(*pairs), reciprocal_rank(*pairs)] for kind, pairs in of_kind.items()}
    behind = [f"{kind} ({name})" for name in data for kind in KINDS if data[ours][kind][0] < data[name][kind][0]]
    asked = ", ".join(f"{sum(question.kind == kind for question in questions)} {kind}" for kind in KINDS)
    return Table(
        "Finding the right conversation",
        f"{count} conversations and {len(questions)} questions ({asked}), embedded with the default model on SQLite "
        f"and Chroma. Recall among the first {FIRST} · mean reciprocal rank.",
        ("", *KINDS, "all", "recall: half the weights were chosen by / other half"),
        rows,
        notes=[f"Hybrid is behind in: {', '.join(behind)}." if behind else "Hybrid is behind in no kind."],
        data=data,
    )  # fmt: skip


def _of(
    kind: str | None, tuned: bool | None, questions: list[Question], found: list[list[str]]
) -> tuple[list[Question], list[list[str]]]:
    kept = [
        (question, keys)
        for question, keys in zip(questions, found, strict=True)
        if kind in (None, question.kind) and tuned in (None, question.tuned)
    ]
    return [question for question, _ in kept], [keys for _, keys in kept]
