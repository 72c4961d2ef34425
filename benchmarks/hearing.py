"""What the embedded parts understand: words (in three voices), and feelings by the words, by the voice, by both."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bench import Bench
from benchmarks.labelled.spoken import NAMES, Spoken, spoken
from benchmarks.processes import Peer, clean_environment
from benchmarks.report import Table

PHRASES = 12  # of a closed grammar


def measure(bench: Bench) -> Table:
    said = spoken()[:: bench.pick(1, 3)]
    bench.folder.mkdir(exist_ok=True)
    env = clean_environment(DATA_DIR=str(bench.folder), LOG_FORMAT="json")
    with Peer("benchmarks.hearing_side", folder=bench.folder, env=env) as side:
        bench.say(f"{len(said)} sentences in {len(NAMES)} voices")
        words = {name: _word_errors(side, said, name) for name in NAMES}
        bench.say(f"{PHRASES} phrases and nothing else")
        closed = _word_errors(side, said[:PHRASES], NAMES[0], closed=True)
        bench.say("feelings")
        felt = side.call("feelings", timeout_s=1800, said=[_plain(one) for one in said])
    return _table(len(said), words, closed, felt)


def _plain(one: Spoken, name: str | None = None, *, neutral: bool = False) -> dict[str, object]:
    voice = one.voice
    style = (
        {} if neutral else {"rate": voice.rate, "pitch": voice.pitch, "span": voice.span, "amplitude": voice.amplitude}
    )
    return {"text": one.text, "label": one.label, "style": {**style, "voice": name or one.name}}


def _word_errors(side: Peer, said: Sequence[Spoken], name: str, *, closed: bool = False) -> float:
    """Word error rate: wrong, missing and added words by the words that were said."""
    plain = [_plain(one, name, neutral=True) for one in said]
    rate: float = side.call("word_errors", timeout_s=1800, said=plain, closed=closed)
    return rate


def _table(count: int, words: dict[str, float], closed: float, felt: dict[str, float]) -> Table:
    rows = [(f"words, voice {name}", f"{rate:.2f} of them wrong") for name, rate in words.items()]
    rows.append((f"words, {PHRASES} phrases given", f"{closed:.2f} of them wrong"))
    rows += [(f"feelings by {name}", f"{share:.2f} of them right") for name, share in felt.items()]
    return Table(
        "What the embedded parts understand",
        f"{count} sentences of seven feelings, spoken by espeak-ng: a clean voice, which no person has. Words: "
        "pocketsphinx. Feelings: prototypes on the words, prosody on the sound, and both weighed. The baseline of the "
        f"feelings is a seventh ({1 / 7:.2f}) by chance.",
        ("", "rate"),
        rows,
        data={"word_error_rate": words, "closed": closed, "feelings": felt},
    )
