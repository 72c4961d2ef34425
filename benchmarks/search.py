"""GET /api/search over a few thousand chunks, alone and while a bulk import is being embedded."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import quote

from benchmarks.bench import Bench
from benchmarks.house import House
from benchmarks.processes import Trouble, wait_until
from benchmarks.report import Table, number, percentile
from benchmarks.texts import questions
from benchmarks.web import Web
from tests.exports import write_big_export

ALONE, BUSY = "alone", "while an import is being embedded"
LIMIT_S = 600.0
SEED = 23


def measure(bench: Bench) -> Table:
    # Megabytes of export: the first makes about 5,000 chunks, the second is there to be embedded meanwhile.
    small, bulk, tries = bench.pick(6, 1), bench.pick(40, 20), bench.pick(200, 40)
    with House(bench.folder / "house") as house:
        house.start("chroma", "web", "background", "index", "beat")
        web = Web(house.port)
        bench.say("importing and embedding what is searched")
        _import(bench, web, small, SEED)
        wait_until(lambda: _unindexed(house) == 0, LIMIT_S, "the first embedding", every_s=0.2)
        chunks = _chunks(house)
        _search(web, questions(20, SEED + 2))
        bench.say(f"{tries} searches alone")
        alone = _search(web, questions(tries, SEED))
        _import(bench, web, bulk, SEED + 1)
        started = time.perf_counter()
        wait_until(lambda: _chunks(house) > chunks, LIMIT_S, "the first slice of the bulk import", every_s=0.1)
        bench.say(f"{tries} searches while {_unindexed(house)} conversations wait to be embedded")
        busy = _search(web, questions(tries, SEED + 3))
        if not _unindexed(house):
            raise Trouble("the embedding ended before the searches did; make the bulk import larger")
        rate = (_chunks(house) - chunks) / (time.perf_counter() - started)
        web.close()
    return _table(chunks, {ALONE: alone, BUSY: busy}, rate)


def _import(bench: Bench, web: Web, megabytes: float, seed: int) -> None:
    export: Path = bench.folder / f"{seed}.json"
    write_big_export(export, megabytes, seed=seed)
    web.wait_for(web.upload("/api/imports", export)["id"], LIMIT_S)


def _search(web: Web, texts: list[str]) -> list[float]:
    """Milliseconds each, one after the other with pauses."""
    found = []
    for text in texts:
        started = time.perf_counter()
        answer = web.get(f"/api/search?q={quote(text)}")
        found.append(1000 * (time.perf_counter() - started))
        if answer["query"] != text:
            raise Trouble("the search answered another question")
        time.sleep(0.02)
    return found


def _unindexed(house: House) -> int:
    return int(str(house.sql("SELECT count(*) FROM conversation WHERE indexed_version < content_version")[0][0]))


def _chunks(house: House) -> int:
    return int(str(house.sql("SELECT count(*) FROM chunk")[0][0]))


def _table(chunks: int, found: dict[str, list[float]], rate: float) -> Table:
    base = percentile(found[ALONE], 50)
    rows = []
    for name, values in found.items():
        p50, p95, p99 = (percentile(values, percent) for percent in (50, 95, 99))
        rows.append((name, number(p50), number(p95), number(p99), f"{p50 / base:.1f}×"))
    return Table(
        "Searching",
        f"GET /api/search over {chunks:,} chunks at first, {len(found[ALONE])} questions of 2 to 7 words one after the "
        f"other on one connection, the whole house running; then the same while the index worker embeds a bulk import "
        f"({number(rate)} chunks/s meanwhile). Milliseconds.",
        ("", "p50", "p95", "p99", "p50 ratio"),
        rows,
        data={"chunks": chunks, "milliseconds": found, "embedded_per_s": rate},
    )
