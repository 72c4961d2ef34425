"""From file to committed rows, by the real import job in a real worker, against `json.load` of the same file: for every
source whose export a parser of the standard library reads."""

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
from tests.exports.big import write_big

LOAD, NEW, AGAIN = "json.load", "import, all new", "import again, unchanged"
CHATGPT, PAGE, LINES = "chatgpt", "gemini, as a page", "backchannel"
OTHERS = ("claude", "grok", "gemini", PAGE, "open-webui", "librechat", "deepseek", LINES)
LIMIT_S = 600.0
SEED = 7
MB = 1_000_000

# The cheapest way to have all of a file parsed, in a fresh process that imports nothing else.
_BASELINE = """
import sys, time
{prepare}
sys.stdin.readline()
started = time.perf_counter()
with open(sys.argv[1], "rb") as file:
    {parse}
print(time.perf_counter() - started, flush=True)
sys.stdin.readline()
"""
_JSON = _BASELINE.format(prepare="import json", parse="found = json.load(file)")
_BASELINES = {
    LINES: _BASELINE.format(prepare="import json", parse="found = [json.loads(line) for line in file]"),
    PAGE: _BASELINE.format(
        prepare="from html.parser import HTMLParser", parse="HTMLParser().feed(file.read().decode())"
    ),
}


@dataclass(frozen=True, slots=True)
class _Once:
    """`before` and `peak` are bytes of resident memory; `rows` what the tables gained."""

    seconds: float
    before: int
    peak: int
    rows: int


def measure(bench: Bench) -> Table:
    megabytes, rounds = bench.pick(100, 20), bench.pick(3, 1)
    export = bench.folder / "export"
    number_of_house = iter(range(1_000))

    def houses(source: str, size: float, rounds: int) -> dict[str, list[_Once]]:
        bench.say(f"{source}: writing an export of {size:.0f} MB")
        conversations = write_big(export, source, size, seed=SEED)

        def imported() -> tuple[_Once, _Once]:
            return _import_twice(bench.folder / f"house{next(number_of_house)}", export, conversations)

        found = in_turn(bench, rounds, {LOAD: lambda: parsed(source, export), NEW: imported})
        return {
            LOAD: [one for one in found[LOAD] if isinstance(one, _Once)],
            NEW: [pair[0] for pair in found[NEW] if isinstance(pair, tuple)],
            AGAIN: [pair[1] for pair in found[NEW] if isinstance(pair, tuple)],
        }

    runs = {CHATGPT: houses(CHATGPT, megabytes, rounds)}
    sizes = {CHATGPT: export.stat().st_size / MB}
    for source in OTHERS:
        runs[source] = houses(source, bench.pick(30, 5), 1)
        sizes[source] = export.stat().st_size / MB
    return _table(sizes, runs)


def parsed(source: str, export: Path) -> _Once:
    """In a fresh process; it waits for a line to begin, and for one to end."""
    argv = [sys.executable, "-I", "-c", _BASELINES.get(source, _JSON), str(export)]
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
        stored = house.sql("SELECT count(*) FROM conversation")[0][0]
        if stored != conversations or first.rows < conversations or second.rows:
            raise Trouble(f"{conversations} conversations became {stored} rows; the second time added {second.rows}")
        return first, second


def _import(house: House, web: Web, export: Path) -> _Once:
    rows = rows_of(house)
    with PeakRss(house.children["background"].pid) as memory:
        job = web.wait_for(web.upload("/api/imports", export)["id"], LIMIT_S)
        time.sleep(0.05)
    return _Once(job["run_ms"] / 1000, memory.before, memory.peak, rows_of(house) - rows)


def rows_of(house: House) -> int:
    """Conversations and messages; the ledger's row per conversation comes on top each time."""
    counts = house.sql("SELECT (SELECT count(*) FROM conversation), (SELECT count(*) FROM message)")[0]
    return sum(int(str(count)) for count in counts)


def _table(sizes: dict[str, float], runs: dict[str, dict[str, list[_Once]]]) -> Table:
    rows = [_row(name, name, sizes[CHATGPT], runs[CHATGPT]) for name in (LOAD, NEW, AGAIN)]
    rows += [_row(f"{source}, all new", NEW, sizes[source], runs[source]) for source in OTHERS]
    return Table(
        "Importing",
        f"Generated exports: ChatGPT's of {sizes[CHATGPT]:.0f} MB, the others' of {sizes[OTHERS[0]]:.0f} MB with the "
        f"same conversations, from the job's start to its end in the database (the upload before it is not counted), "
        f"in the background worker; then the same file once more. Nothing embeds meanwhile. The baseline is "
        f"`json.load` of the same file in a fresh process, which writes nothing; of our own export `json.loads` of "
        f"every line, of Gemini's page Python's `HTMLParser`. ChatGPT: median of {len(runs[CHATGPT][LOAD])} "
        f"alternating rounds (lowest–highest), memory in the worst; the others: one round.",
        ("", "MB/s", "speed ratio", "resident MB", "growth / file size", "rows written"),
        rows,
        data={
            source: {"megabytes": sizes[source]}
            | {name: [[sizes[source] / one.seconds, one.before, one.peak] for one in some] for name, some in of.items()}
            for source, of in runs.items()
        },
    )


def _row(label: str, name: str, megabytes: float, runs: dict[str, list[_Once]]) -> tuple[str, ...]:
    speeds, base = ([megabytes / one.seconds for one in runs[which]] for which in (name, LOAD))
    peak = max(runs[name], key=lambda one: one.peak - one.before)
    return (
        label,
        spread(speeds),
        "1×" if name == LOAD else f"{spread(ratios(speeds, base))}×",
        f"{number(peak.before / MB)} → {number(peak.peak / MB)}" if peak.before else f"{number(peak.peak / MB)}",
        f"{number((peak.peak - peak.before) / megabytes / MB)}×",
        "–" if name == LOAD else f"{runs[name][0].rows:,}",
    )
