"""`python -m benchmarks`: measure, and print the tables of the README."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.processes import Trouble
from benchmarks.report import Table

# In this order; each is one file beside this one.
SECTIONS = (
    *("accept", "ledger", "latency", "talkers", "mixed", "streaming", "imports", "memory"),
    *("embedding", "search", "retrieval", "voice", "hearing"),
)


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, _on_term)
    found = machine.facts()
    print(f"# Benchmarks\n\n{machine.markdown(found)}", flush=True)
    tables: dict[str, Any] = {}
    failed = []
    for name in options.only or SECTIONS:
        table = _measure(name, options.quick, options.threads)
        if table is None:
            failed.append(name)
            continue
        tables[name] = table.as_json()
        print(table.markdown(), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": found, "quick": options.quick, "sections": tables}, indent=1))
    if failed:
        print(f"Not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and print Markdown tables.")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="this section; may be repeated")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller rounds: a check, not a measurement")
    # Two threads on cores that are wanted by others are five to eleven times slower than one.
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of every language model (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers behind the tables there too")
    return parser.parse_args()


def _measure(name: str, quick: bool, threads: int) -> Table | None:
    """None when the section could not be measured; the reason is told and the others go on."""
    with tempfile.TemporaryDirectory(prefix=f"bc-bench-{name}-", ignore_cleanup_errors=True) as folder:
        bench = Bench(name, Path(folder), quick, threads)
        started = time.monotonic()
        try:
            table: Table = importlib.import_module(f"benchmarks.{name}").measure(bench)
        except Trouble as trouble:
            bench.say(str(trouble))
            return None
        except Exception:
            bench.say(traceback.format_exc())
            return None
        bench.say(f"done in {time.monotonic() - started:.0f} s")
        return table


def _on_term(*_: object) -> NoReturn:
    raise KeyboardInterrupt  # as Ctrl-C: everything started is stopped on the way out


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
