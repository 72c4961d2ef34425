"""Many talkers at once: tokens per second and time to first token, of four systems with the same model."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from benchmarks import machine
from benchmarks.bench import Bench, in_turn
from benchmarks.processes import Trouble
from benchmarks.report import Table, at_least, below, number, percentile, ratios, spread
from benchmarks.systems import ENGINE, HOUSE, LLAMA, SERVER, Systems, opened
from benchmarks.talk import Heard, Talk, firsts, questions, tokens_per_second

PROMPT, TEMPLATE, ANSWER = 200, 14, 64  # tokens; the template's are around every question
HISTORY, SHORT_ANSWER, SECOND_QUESTION = 1500, 8, 20
SECOND = "second turn"
# Of a round, so that one talker's percentiles are of more than one answer.
ANSWERS_AT_LEAST = 6
# Rates against one system and tails against it: engine alone / llama-server, and whole system / engine alone.
AIMS = {ENGINE: (SERVER, 1.0, 1.1), HOUSE: (ENGINE, 0.97, 1.2)}


@dataclass(frozen=True, slots=True)
class Run:
    """One system, so many talkers, one round. `cpu_ms` of processor time per token of the answers."""

    rate: float
    firsts: list[float]
    cpu_ms: float

    def tail(self, percent: float) -> float:
        return percentile(self.firsts, percent)


def measure(bench: Bench) -> Table:
    counts = (1, 4, 16) if bench.quick else (1, 4, 8, 16, 32)
    rounds, turns = bench.pick(3, 1), bench.pick(3, 1)
    load = machine.load()
    found: dict[str, dict[str, list[Run]]] = {}
    with opened(bench, HOUSE, ENGINE, SERVER, LLAMA) as systems:
        for count in counts:
            bench.say(f"{count} talkers")
            found[str(count)] = in_turn(bench, rounds, _talking(systems, count))
        bench.say("second turns")
        found[SECOND] = in_turn(bench, turns, _second_turns(systems))
    return _table(systems, found, rounds, load)


class _Seeds:
    """Nobody asks twice: a cache that knows the question would flatter."""

    def __init__(self) -> None:
        self._next = 0

    def __call__(self) -> int:
        self._next += 1
        return self._next


def _talking(systems: Systems, count: int) -> dict[str, Any]:
    seeds = _Seeds()

    def run(name: str) -> Run:
        each = -(-ANSWERS_AT_LEAST // count)
        asked = questions(count * each, PROMPT - TEMPLATE, seed=1000 * count + seeds())
        talks = [Talk(asked[place::count], ANSWER) for place in range(count)]
        cpu = systems.cpu_seconds(name)
        answers = [answer for heard in systems.converse[name](talks) for answer in heard]
        cpu = systems.cpu_seconds(name) - cpu
        _check_prompts(answers)
        return Run(tokens_per_second(answers, ANSWER), firsts(answers), 1000 * cpu / (ANSWER * len(answers)))

    return {name: lambda name=name: run(name) for name in systems.converse}


def _second_turns(systems: Systems) -> dict[str, Any]:
    seeds = _Seeds()

    def run(name: str) -> Run:
        seed = 500_000 + 2 * seeds()
        first = questions(1, HISTORY, seed)
        talk = Talk([*first, *questions(1, SECOND_QUESTION, seed + 1)], SHORT_ANSWER, follow_up=True)
        [[_, second]] = systems.converse[name]([talk])
        return Run(0.0, [second.first_s], 0.0)

    return {name: lambda name=name: run(name) for name in systems.converse}


def _check_prompts(answers: list[Heard]) -> None:
    told = {answer.prompt_tokens for answer in answers} - {None}
    if told - {PROMPT}:
        raise Trouble(f"prompts were to have {PROMPT} tokens and have {sorted(map(str, told))}")


# --- the table


def _table(systems: Systems, found: dict[str, dict[str, list[Run]]], rounds: int, load: float) -> Table:
    rows = []
    for count, runs in found.items():
        for name, mine in runs.items():
            rows.append((count, name, *_cells(count, mine, runs.get(SERVER)), _verdict(count, name, runs)))
    return Table(
        "Talking to a model",
        f"{systems.about}. Every talker asks at once, {PROMPT} tokens of prompt and {ANSWER} of answer; one or a few "
        f"ask again as soon as they are answered. The whole system is POST /api/jobs and the job's events over HTTP "
        f"(Redis, web, generate, background worker, beat), llama-server its own streaming over HTTP, the two others "
        f"are threads beside the model. In the second turn {HISTORY} tokens of conversation came before. Median of "
        f"{rounds} rounds that take the systems in turn (lowest–highest); ratios are to llama-server, round by round. "
        f"Load average before: {load:.2f}.",
        ("talkers", "", "tokens/s", "first token p50 s", "p95 s", "tokens/s ratio", "p95 ratio", "CPU ms/token", "aim"),
        rows,
        notes=systems.notes,
        data={"runs": {count: {name: [_json(run) for run in mine] for name, mine in runs.items()}
                       for count, runs in found.items()}},
    )  # fmt: skip


def _cells(count: str, mine: list[Run], base: list[Run] | None) -> tuple[str, ...]:
    rate = ratio = cpu = ""
    tail_ratio = f"{number(_against(mine, base)[1])}×" if base else ""
    if count != SECOND:
        rate = spread([run.rate for run in mine])
        ratio = f"{number(_against(mine, base)[0])}×" if base else ""
        cpu = spread([run.cpu_ms for run in mine])
    tails = [spread([run.tail(percent) for run in mine]) for percent in (50, 95)]
    return rate, *tails, ratio, tail_ratio, cpu


def _against(mine: list[Run], base: list[Run]) -> tuple[float, float]:
    """Rate and p95 against another system's, the median of the rounds."""
    rates = [0.0] if not base[0].rate else ratios([run.rate for run in mine], [run.rate for run in base])
    tails = ratios([run.tail(95) for run in mine], [run.tail(95) for run in base])
    return statistics.median(rates), statistics.median(tails)


def _verdict(count: str, name: str, runs: dict[str, list[Run]]) -> str:
    base_name, least, most = AIMS.get(name, ("", 0.0, 0.0))
    if count == SECOND:
        if name not in AIMS or SERVER not in runs:
            return ""
        return below(_against(runs[name], runs[SERVER])[1], 1.0, "×")
    if base_name not in runs:
        return ""
    rate, tail = _against(runs[name], runs[base_name])
    found = f"{number(rate)}× and {number(tail)}× of the engine's; " if base_name == ENGINE else ""
    return f"{found}{at_least(rate, least, '×')}, {below(tail, most, '×')}"


def _json(run: Run) -> dict[str, Any]:
    return {"tokens_per_s": run.rate, "first_token_s": run.firsts, "cpu_ms_per_token": run.cpu_ms}
