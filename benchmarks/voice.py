"""From the end of a spoken question to the first sound of its answer, alone, eight at once, and with models that are
loaded for every turn."""

from __future__ import annotations

import statistics
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.bench import Bench
from benchmarks.house import House
from benchmarks.processes import Trouble, clean_environment, python
from benchmarks.report import Table, at_least, below, number, percentile
from benchmarks.speaking import SpokenTurn, ask
from tests.workers.voice import spoken
from workers.voice.ports import HEARING_RATE, Samples
from workers.voice.wav import write_wav

AIM_S, AIM_RATIO = 1.0, 3.0
AT_ONCE = 8
QUESTIONS = (
    "What did we say about the garden?",
    "Tell me what is new in the house.",
    "When does the train leave for the city?",
    "Which book did she like the most?",
    "How much money do we need for this?",
)
PARTS = {
    "vad_ms": "the pause that ends the turn",
    "stt_ms": "the rest of its words",
    "emotion_ms": "emotion",
    "first_token_ms": "first words of the answer",
    "first_audio_ms": "first sound, before it travels",
}


def measure(bench: Bench) -> Table:
    turns, loads = bench.pick(20, 6), bench.pick(5, 2)
    said = spoken.say(*QUESTIONS)
    with House(bench.folder / "house") as house:
        house.start("chroma", "web", "generate", "index", "voice")
        bench.say("warming up")
        _ask(house, said[0])
        bench.say(f"{turns} turns, one after the other")
        alone = [_ask(house, said[number % len(said)]) for number in range(turns)]
        bench.say(f"{AT_ONCE} at once")
        crowd = _crowd(house, said, rounds=bench.pick(3, 1))
    bench.say(f"{loads} turns with models that are loaded for each")
    loaded = [_loaded(bench.folder / f"turn-{at}", said[at % len(said)]) for at in range(loads)]
    return _table(alone, crowd, loaded)


def _ask(house: House, samples: Samples) -> SpokenTurn:
    return ask(house.port, samples)


def _crowd(house: House, said: list[Samples], rounds: int) -> list[SpokenTurn]:
    """Each in a conversation of its own, all speaking at the same time."""
    together = threading.Barrier(AT_ONCE)

    def talk(place: int) -> list[SpokenTurn]:
        found = []
        for at in range(rounds):
            together.wait()
            found.append(ask(house.port, said[(place + at) % len(said)], alone=True))
        return found

    with ThreadPoolExecutor(AT_ONCE) as talkers:
        return [turn for turns in talkers.map(talk, range(AT_ONCE)) for turn in turns]


def _loaded(folder: Path, samples: Samples) -> float:
    """Seconds from the start of the process to its first sound."""
    folder.mkdir()
    recording = folder / "question.wav"
    recording.write_bytes(write_wav(samples, HEARING_RATE))
    env = clean_environment(DATA_DIR=str(folder), LOG_FORMAT="json")
    command = python("benchmarks.voice_per_turn", str(recording))
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"a turn with its own models ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def _table(alone: list[SpokenTurn], crowd: list[SpokenTurn], loaded: list[float]) -> Table:
    base = statistics.median(loaded)
    rows = []
    for name, turns, aim in ((_ONE, alone, True), (f"{AT_ONCE} at once", crowd, False)):
        firsts = [turn.first_sound_s for turn in turns]
        middle = percentile(firsts, 50)
        told = f"{below(middle, AIM_S, ' s')}, {at_least(base / middle, AIM_RATIO, '×')}" if aim else ""
        rows.append((name, number(middle), number(percentile(firsts, 95)), f"{base / middle:.1f}×", told))
    rows.append(("models loaded for the turn", number(base), number(max(loaded)), "1", ""))
    timing = partial(_part, alone)
    parts = ", ".join(f"{words} {timing(name):.0f}" for name, words in PARTS.items())
    return Table(
        "A spoken turn: from the end of speech to the first sound",
        f"{len(alone)} turns one by one, then {len(crowd)} by {AT_ONCE} talkers at once: questions spoken by espeak-ng "
        "are played into /ws/voice as fast as one speaks; pocketsphinx, prototypes and prosody, the extractive "
        "answerer, espeak-ng. The baseline is one process for each turn that loads the same models and is given the "
        "whole question at once: what the seed compares with. Seconds; the pause that ends a turn is part of them.",
        ("", "p50 s", "p95 s", "against loading", "aim"),
        rows,
        [f"Medians of one by one, ms since the end of speech or of the stage itself: {parts}."],
        {
            "alone_s": [turn.first_sound_s for turn in alone],
            "crowd_s": [turn.first_sound_s for turn in crowd],
            "loaded_s": loaded,
            "timings_ms": [turn.timings for turn in alone],
        },
    )


_ONE = "one by one"


def _part(turns: list[SpokenTurn], name: str) -> float:
    return float(np.median([turn.timings[name] for turn in turns]))
