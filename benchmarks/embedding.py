"""Sentences per second against `SentenceTransformer.encode` of the same model, and how long a search waits for bulk."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench import Bench, in_turn
from benchmarks.house import House
from benchmarks.processes import Peer
from benchmarks.report import Table, at_least, number, percentile, ratios, spread

OURS, PLAIN = "workers.embedding", "SentenceTransformer.encode"
AIM_SPEED, AIM_COSINE = 2.5, 0.99
SEED = 11
URGENT_S = 30.0


def measure(bench: Bench) -> Table:
    count, rounds, tries = bench.pick(512, 96), bench.pick(5, 2), bench.pick(100, 30)
    with House(bench.folder / "house", LOG_LEVEL="INFO") as house:
        ours, plain = house.peer("benchmarks.encoders"), house.peer("benchmarks.encoders")
        facts = {**ours.call("open_ours"), **plain.call("open_plain")}
        speeds, cosines = _in_bulk(bench, ours, plain, count, rounds)
        tokens = ours.call("lengths", count=count, seed=SEED)
        bench.say("urgent texts, alone and beside bulk work")
        alone, busy = (
            ours.call("urgent", tries=tries, busy=beside, seed=SEED, limit_s=URGENT_S)["milliseconds"]
            for beside in (False, True)
        )
    return _table(facts, tokens, speeds, cosines, {"alone": alone, "busy": busy})


def _in_bulk(
    bench: Bench, ours: Peer, plain: Peer, count: int, rounds: int
) -> tuple[dict[str, list[float]], list[float]]:
    """Sentences per second per round, and the cosine of each pair of vectors of the last round."""
    out = {OURS: bench.folder / "ours.npy", PLAIN: bench.folder / "plain.npy"}

    def run(name: str, peer: Peer, function: str) -> float:
        return count / float(peer.call(function, count=count, seed=SEED, out=str(out[name])))

    for name, peer, function in ((OURS, ours, "embed_ours"), (PLAIN, plain, "embed_plain")):
        peer.call(function, count=min(64, count), seed=SEED + 1, out=str(out[name]))  # warm
    systems = {
        OURS: lambda: run(OURS, ours, "embed_ours"),
        PLAIN: lambda: run(PLAIN, plain, "embed_plain"),
    }
    return in_turn(bench, rounds, systems), _cosines(out[OURS], out[PLAIN])


def _cosines(one: Path, other: Path) -> list[float]:
    a, b = np.load(one).astype(np.float64), np.load(other).astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return [float(value) for value in (a * b).sum(axis=1) / lengths]


def _table(
    facts: dict[str, Any],
    tokens: list[int],
    speeds: dict[str, list[float]],
    cosines: list[float],
    waits: dict[str, list[float]],
) -> Table:
    compared = ratios(speeds[OURS], speeds[PLAIN])
    mean = statistics.fmean(cosines)
    aims = f"{at_least(statistics.median(compared), AIM_SPEED, '×')}, mean cosine {at_least(mean, AIM_COSINE)}"
    rows = [
        (OURS, spread(speeds[OURS]), f"{spread(compared)}×", f"{mean:.4f}", f"{min(cosines):.4f}", aims),
        (PLAIN, spread(speeds[PLAIN]), "1×", "1", "1", ""),
    ]
    quick = ", ".join(
        f"{name} p50 {number(percentile(values, 50))} ms, p95 {number(percentile(values, 95))} ms"
        for name, values in (("alone", waits["alone"]), ("beside bulk work without end", waits["busy"]))
    )
    way = f", which chose {facts['label']} on this machine" if facts["label"] else ""
    return Table(
        "Embedding",
        f"{facts['name']}, {len(tokens)} texts of {min(tokens)} to {max(tokens)} tokens (mean "
        f"{statistics.fmean(tokens):.0f}) per round; {OURS}{way}, against the library with its defaults in fp32 and "
        f"the same {facts['threads']} threads, each in its own process. Cosine to the fp32 vectors of the same texts. "
        f"Median of {len(compared)} alternating rounds (lowest–highest).",
        ("", "sentences/s", "speed ratio", "cosine mean", "cosine min", "aim"),
        rows,
        notes=[f"One urgent text (a search): {quick}."],
        data={"sentences_per_s": speeds, "cosine_mean": mean, "cosine_min": min(cosines), "urgent_ms": waits},
    )
