"""GET /api/search over stores of several sizes: alone and while a bulk import is being embedded, beside the bare query
to Chroma that is part of each search."""

from __future__ import annotations

import os
import time
from pathlib import Path
from urllib.parse import quote

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.filled import questions
from benchmarks.house import House
from benchmarks.processes import Peer, Trouble, wait_until
from benchmarks.report import Table, below, number, percentile
from benchmarks.web import Web
from tests.exports import write_big_export

CHROMA, INSIDE, ALONE, BUSY = "bare Chroma query", "in the worker", "over HTTP, alone", "over HTTP, beside embedding"
# Of 100,000 chunks, p95 in milliseconds.
AIMS = {ALONE: 25.0, BUSY: 60.0}
AIMED_AT = 100_000
MILLION = "BENCHMARK_MILLION"  # set in the environment: a million chunks as well, half an hour to fill
LIMIT_S = 600.0
FILL_S = 7200.0
SEED = 23

Found = dict[str, list[float]]


def measure(bench: Bench) -> Table:
    sizes = [10_000] if bench.quick else [10_000, 100_000, *([1_000_000] if os.environ.get(MILLION) else [])]
    tries, load = bench.pick(200, 40), machine.load()
    found: dict[int, Found] = {}
    with House(bench.folder / "house") as house:
        house.start("chroma", "web", "background", "index", "beat")
        side, web = house.peer("benchmarks.filled"), Web(house.port)
        for place, size in enumerate(sizes):
            bench.say(f"filling up to {size:,} chunks")
            side.call("fill", FILL_S, count=size - _chunks(house), seed=place)
            found[size] = _measured(bench, house, side, web, tries)
        web.close()
    return _table(found, tries, load)


def _measured(bench: Bench, house: House, side: Peer, web: Web, tries: int) -> Found:
    bench.say(f"{tries} searches in each way")
    inside: Found = side.call("inside", tries=tries, seed=SEED)
    _search(web, questions(20, SEED + 1))
    found = {CHROMA: inside["chroma"], INSIDE: inside["search"], ALONE: _search(web, questions(tries, SEED))}
    export: Path = bench.folder / f"{_chunks(house)}.json"
    write_big_export(export, bench.pick(15, 6), seed=_chunks(house))
    chunks = _chunks(house)
    web.wait_for(web.upload("/api/imports", export)["id"], LIMIT_S)
    wait_until(lambda: _chunks(house) > chunks, LIMIT_S, "the first slice of the bulk import", every_s=0.1)
    found[BUSY] = _search(web, questions(tries, SEED + 2))
    if not _unindexed(house):
        raise Trouble("the embedding ended before the searches did; make the bulk import larger")
    wait_until(lambda: not _unindexed(house), LIMIT_S, "the end of the embedding", every_s=0.5)
    return found


def _search(web: Web, texts: list[str]) -> list[float]:
    """Milliseconds each, one after the other with pauses."""
    found = []
    for text in texts:
        started = time.perf_counter()
        answer = web.get(f"/api/search?q={quote(text)}")
        found.append(1000 * (time.perf_counter() - started))
        if answer["query"] != text or answer["degraded"]:
            raise Trouble(f"the search did not answer in full: {answer['degraded']}")
        time.sleep(0.02)
    return found


def _unindexed(house: House) -> int:
    return int(str(house.sql("SELECT count(*) FROM conversation WHERE indexed_version < content_version")[0][0]))


def _chunks(house: House) -> int:
    return int(str(house.sql("SELECT count(*) FROM chunk")[0][0]))


def _table(found: dict[int, Found], tries: int, load: float) -> Table:
    rows = []
    for size, ways in found.items():
        base = percentile(ways[CHROMA], 50)
        for name, values in ways.items():
            p50, p95, p99 = (percentile(values, percent) for percent in (50, 95, 99))
            aim = below(p95, AIMS[name], " ms") if size == AIMED_AT and name in AIMS else ""
            rows.append((f"{size:,}", name, number(p50), number(p95), number(p99), f"{p50 / base:.1f}×", aim))
    return Table(
        "Searching",
        f"{tries} questions of 2 to 7 words one after the other, the whole house running, SQLite and Chroma. The "
        f"chunks are made up, with the word frequencies of a language and vectors of which all are near, so that both "
        f"sides of the search find as much as they may. Milliseconds. Load average before: {load:.2f}.",
        ("chunks", "", "p50", "p95", "p99", "p50 ratio", "aim"),
        rows,
        data={"milliseconds": {str(size): ways for size, ways in found.items()}},
    )
