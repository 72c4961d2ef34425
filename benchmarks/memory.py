"""What each process of the house grows by while a large export is uploaded and imported, and how long that takes beside
`json.load` of the same file: of every source, and of a zip.

30 MB by default; with BENCHMARK_GIGABYTE in the environment 1 GB, which takes most of an hour.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.house import House
from benchmarks.imports import CHATGPT, LOAD, MB, OTHERS, parsed, rows_of
from benchmarks.processes import Trouble
from benchmarks.report import Table, below, number
from benchmarks.usage import PeakRss
from benchmarks.web import Web
from tests.exports.big import write_big

GIGABYTE = "BENCHMARK_GIGABYTE"
ZIP = "chatgpt, in its zip"
DATABASE = "llm"
SOURCES = (CHATGPT, ZIP, *OTHERS, DATABASE)
PROCESSES = ("web", "background", "redis")
AIM = 500.0  # MB
LIMIT_S = 3600.0
SEED = 11


@dataclass(frozen=True, slots=True)
class _Found:
    """`unpacked` and `grown` in MB; `loaded`: the baseline's seconds, None for a database; `rows` what the tables hold
    afterwards."""

    unpacked: float
    loaded: float | None
    seconds: float
    grown: dict[str, float]
    rows: int


def measure(bench: Bench) -> Table:
    size = 1000 if os.environ.get(GIGABYTE) else bench.pick(30, 5)
    found: dict[str, _Found] = {}
    troubles: list[str] = []
    for source in SOURCES:
        bench.say(f"{source}: writing {size} MB")
        folder = bench.folder / "one"
        folder.mkdir()
        try:
            one = found[source] = _measured(folder, source, size)
            bench.say(f"{source}: {one.seconds:.0f} s, {max(one.grown.values()):.0f} MB")
        except Trouble as trouble:
            bench.say(f"{source}: {trouble}")
            troubles.append(f"{source} was not measured: {str(trouble).splitlines()[0]}")
        finally:
            shutil.rmtree(folder)  # one source's files and rows at a time
    return _table(size, found, troubles)


def _measured(folder: Path, source: str, size: float) -> _Found:
    export = folder / "export"
    conversations = write_big(export, CHATGPT if source == ZIP else source, size, seed=SEED)
    unpacked = export.stat().st_size / MB
    loaded = None if source == DATABASE else parsed(source, export).seconds
    if source == ZIP:
        export = _zipped(export)
    with House(folder / "house") as house, ExitStack() as watching:
        house.start("web", "background")
        web = Web(house.port)
        watching.callback(web.close)
        peaks = {name: watching.enter_context(PeakRss(house.children[name].pid)) for name in PROCESSES}
        job = web.wait_for(web.upload("/api/imports", export)["id"], LIMIT_S)
        stored = house.sql("SELECT count(*) FROM conversation")[0][0]
        if stored != conversations:
            raise Trouble(f"{conversations} conversations became {stored} rows")
        grown = {name: peak.grown / MB for name, peak in peaks.items()}
        return _Found(unpacked, loaded, job["run_ms"] / 1000, grown, rows_of(house))


def _zipped(export: Path) -> Path:
    packed = export.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.write(export, "conversations.json")
    export.unlink()
    return packed


def _table(size: float, found: dict[str, _Found], troubles: list[str]) -> Table:
    rows = [
        (
            source,
            number(one.unpacked / one.seconds),
            *(
                (number(one.unpacked / one.loaded), f"{number(one.loaded / one.seconds)}×")
                if one.loaded
                else ("–", "–")
            ),
            *(number(one.grown[name]) for name in PROCESSES),
            below(max(one.grown.values()), AIM, " MB"),
            f"{one.rows:,}",
        )
        for source, one in found.items()
    ]
    return Table(
        "Memory of an import",
        f"A generated export of {size:.0f} MB each, uploaded to a house of its own and imported: by how many MB of "
        f"resident memory each process that takes part grew at its peak, from before the upload to the job's end. "
        f"MB/s of the import alone, beside those of {LOAD} (of HTMLParser for the page) in a fresh process. Of a zip, "
        f"what it unpacks to counts.",
        ("", "MB/s", LOAD, "speed ratio", *PROCESSES, "memory", "rows written"),
        rows,
        notes=troubles,
        data={source: [one.unpacked, one.loaded, one.seconds, one.grown, one.rows] for source, one in found.items()},
    )
