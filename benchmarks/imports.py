"""From file to committed rows, by the real import job in a real worker, against `json.load` of the same file."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench, in_turn
from benchmarks.house import House
from benchmarks.processes import Trouble
from benchmarks.report import Table, number, ratios, spread
from benchmarks.usage import PeakRss
from benchmarks.web import Web
from tests.exports import write_big_export

LOAD, NEW, AGAIN = "json.load", "import, all new", "import again, unchanged"
LIMIT_S = 600.0
SEED = 7
MB = 1_000_000

_JSON_LOAD = """
import json, sys, time
sys.stdin.readline()
started = time.perf_counter()
with open(sys.argv[1], "rb") as file:
    found = json.load(file)
print(time.perf_counter() - started, flush=True)
sys.stdin.readline()
"""


@dataclass(frozen=True, slots=True)
class _Once:
    """`before` and `peak` are bytes of resident memory; `rows` what the tables gained."""

    seconds: float
    before: int
    peak: int
    rows: int


def measure(bench: Bench) -> Table:
    megabytes, rounds = bench.pick(100, 20), bench.pick(3, 1)
    export = bench.folder / "conversations.json"
    bench.say(f"writing an export of {megabytes} MB")
    conversations = write_big_export(export, megabytes, seed=SEED)
    number_of_house = iter(range(1_000))

    def imported() -> tuple[_Once, _Once]:
        return _import_twice(bench.folder / f"house{next(number_of_house)}", export, conversations)

    found = in_turn(bench, rounds, {LOAD: lambda: _json_load(export), NEW: imported})
    runs = {
        LOAD: [one for one in found[LOAD] if isinstance(one, _Once)],
        NEW: [pair[0] for pair in found[NEW] if isinstance(pair, tuple)],
        AGAIN: [pair[1] for pair in found[NEW] if isinstance(pair, tuple)],
    }
    return _table(export.stat().st_size / MB, conversations, runs)


def _json_load(export: Path) -> _Once:
    """In a fresh process that imports nothing else; it waits for a line to begin, and for one to end."""
    argv = [sys.executable, "-I", "-c", _JSON_LOAD, str(export)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        time.sleep(0.2)
        with PeakRss(process.pid) as memory:
            process.stdin.write("begin\n")
            seconds = float(process.stdout.readline())
        process.stdin.write("end\n")
        process.stdin.close()
    return _Once(seconds, memory.before, memory.peak, 0)


def _import_twice(folder: Path, export: Path, conversations: int) -> tuple[_Once, _Once]:
    """In a house of its own, so that the first time meets empty tables."""
    with House(folder) as house:
        house.start("web", "background")
        web = Web(house.port)
        try:
            first, second = _import(house, web, export), _import(house, web, export)
        finally:
            web.close()
        stored = house.sql("SELECT count(*) FROM conversation WHERE source = 'chatgpt'")[0][0]
        if stored != conversations or first.rows < conversations or second.rows:
            raise Trouble(f"{conversations} conversations became {stored} rows; the second time added {second.rows}")
        return first, second


def _import(house: House, web: Web, export: Path) -> _Once:
    rows = _rows(house)
    with PeakRss(house.children["background"].pid) as memory:
        job = web.wait_for(web.upload("/api/imports", export)["id"], LIMIT_S)
        time.sleep(0.05)
    return _Once(job["run_ms"] / 1000, memory.before, memory.peak, _rows(house) - rows)


def _rows(house: House) -> int:
    """Conversations and messages; the ledger's row per conversation comes on top each time."""
    counts = house.sql("SELECT (SELECT count(*) FROM conversation), (SELECT count(*) FROM message)")[0]
    return sum(int(str(count)) for count in counts)


def _table(megabytes: float, conversations: int, runs: dict[str, list[_Once]]) -> Table:
    speeds = {name: [megabytes / one.seconds for one in some] for name, some in runs.items()}
    rows = []
    for name, some in runs.items():
        compared = "1×" if name == LOAD else f"{spread(ratios(speeds[name], speeds[LOAD]))}×"
        peak = max(some, key=lambda one: one.peak - one.before)
        rows.append(
            (
                name,
                spread(speeds[name]),
                compared,
                f"{number(peak.before / MB)} → {number(peak.peak / MB)}"
                if peak.before
                else f"{number(peak.peak / MB)}",
                f"{number((peak.peak - peak.before) / megabytes / MB)}×",
                "–" if name == LOAD else f"{some[0].rows:,}",
            )
        )
    return Table(
        "Importing",
        f"A generated ChatGPT export of {megabytes:.0f} MB with {conversations:,} conversations, from the job's start "
        f"to its end in the database (the upload before it is not counted), in the background worker; then the same "
        f"file once more. Nothing embeds meanwhile. The baseline is `json.load` of the file in a fresh process, which "
        f"writes nothing. Median of {len(runs[LOAD])} alternating rounds (lowest–highest); memory: the worst round.",
        ("", "MB/s", "speed ratio", "resident MB", "growth / file size", "rows written"),
        rows,
        data={
            "megabytes": megabytes,
            "mb_per_s": speeds,
            "memory": {name: [[one.before, one.peak] for one in some] for name, some in runs.items()},
        },
    )
