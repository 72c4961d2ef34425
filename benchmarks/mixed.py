"""Chats that arrive while every slot is writing a long summary: how long each waits for its first token."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks import machine
from benchmarks.bench import Bench, in_turn
from benchmarks.report import Table, at_least, number, percentile, ratios, spread
from benchmarks.systems import ENGINE, SERVER, SLOTS, Systems, opened
from benchmarks.talk import Heard, Talk, firsts, questions

CHATS, WORDS, CHAT_TOKENS = 8, 186, 64
EVERY_S = 2.0  # between chats; the first comes so long after all summaries have begun
ALONE, BESIDE = "alone", f"beside {SLOTS} summaries"
AIM = 20.0


def measure(bench: Bench) -> Table:
    rounds, summary = bench.pick(2, 1), bench.pick(768, 512)
    load = machine.load()
    with opened(bench, ENGINE, SERVER) as systems:
        found = in_turn(bench, rounds, _ways(systems, summary))
    return _table(systems, found, summary, load)


def _ways(systems: Systems, summary: int) -> dict[str, Any]:
    seeds = iter(range(0, 1_000_000, 100))

    def run(name: str, way: str) -> dict[str, Any]:
        seed = next(seeds)
        chats = [
            Talk([question], CHAT_TOKENS, after_s=(place + 1) * EVERY_S)
            for place, question in enumerate(questions(CHATS, WORDS, seed))
        ]
        long = questions(SLOTS, WORDS, seed + 1) if way == BESIDE else []
        summaries = [Talk([text], summary, work="summarize", beside=True) for text in long]
        heard = [answers[0] for answers in systems.converse[name]([*chats, *summaries])]
        return _found(heard[:CHATS], heard[CHATS:])

    return {
        f"{name}, {way}": lambda name=name, way=way: run(name, way)
        for name in systems.converse
        for way in (ALONE, BESIDE)
    }


def _found(chats: list[Heard], summaries: list[Heard]) -> dict[str, Any]:
    """`summary_rate`: pieces of summaries per second from the first chat's question to the last chat's end."""
    since, until = min(chat.asked for chat in chats), max(chat.ended or 0.0 for chat in chats)
    written = sum(since <= at <= until for answer in summaries for at in answer.times)
    return {"first_s": firsts(chats), "summary_rate": written / (until - since), "seconds": until - since}


def _table(systems: Systems, found: dict[str, list[dict[str, Any]]], summary: int, load: float) -> Table:
    tails = {name: [percentile(run["first_s"], 95) for run in runs] for name, runs in found.items()}
    ours, theirs = f"{ENGINE}, {BESIDE}", f"{SERVER}, {BESIDE}"
    better = ratios(tails[theirs], tails[ours]) if theirs in found else []
    rows = []
    for name, runs in found.items():
        alone = tails[f"{name.rpartition(', ')[0]}, {ALONE}"]
        slower = number(statistics.median(ratios(tails[name], alone)))
        aim = ""
        if name == ours and better:
            middle = statistics.median(better)
            aim = f"{number(middle)}× sooner than llama-server: {at_least(middle, AIM, '×')}"
        rows.append(
            (
                name,
                spread([percentile(run["first_s"], 50) for run in runs]),
                spread(tails[name]),
                f"{slower}×",
                spread([run["summary_rate"] for run in runs]) if BESIDE in name else "",
                aim,
            )
        )
    return Table(
        "Chats beside summaries",
        f"{systems.about}. {SLOTS} summaries of up to {summary} tokens (class `summarize`; llama-server knows no "
        f"classes and serves in order of arrival) hold every slot; then {CHATS} chats ({CHAT_TOKENS} tokens) arrive "
        f"one every {EVERY_S:g} s. Alone: the same chats and no summary. Median of {len(next(iter(found.values())))} "
        f"rounds in turn (lowest–highest). Load average before: {load:.2f}.",
        ("", "first token p50 s", "p95 s", "p95 against alone", "summary tokens/s meanwhile", "aim"),
        rows,
        notes=systems.notes,
        data={"runs": found},
    )
