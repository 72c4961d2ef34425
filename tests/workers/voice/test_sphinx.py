"""The embedded recogniser: what it understands, how sure it is, and processes that may be busy or die."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from config.errors import ModelUnavailable, Unavailable, Unusable
from tests.workers.voice.spoken import Style, noise, say, silence, together
from workers.voice import decoders
from workers.voice.ports import HEARING_RATE, Samples, Transcript
from workers.voice.sphinx import MAX_PHRASES, SphinxTranscriber

COMMANDS = (
    "Turn on the light.", "turn off the light", "Play some music, please", "stop the music", "What's the time?",
    "call my mother",
)  # fmt: skip
SENTENCE = "How many people live in the capital of France?"
VOICES = ("en-us", "en-us+f3", "en-us+m3")


@pytest.fixture(scope="module")
def sentence() -> Samples:
    return as_heard(say(SENTENCE)[0])


def as_heard(speech: Samples) -> Samples:
    """With what the endpointer leaves before and behind it."""
    return together(silence(0.3), speech, silence(0.6))


def understood(
    transcriber: SphinxTranscriber, sound: Samples, phrases: Sequence[str] = (), piece: int = 1_600
) -> tuple[Transcript, list[str]]:
    utterance = transcriber.utterance(phrases)
    try:
        told = [utterance.feed(sound[at : at + piece]) for at in range(0, len(sound), piece)]
        return utterance.finish(), [text for text in told if text is not None]
    finally:
        utterance.close()


def children() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "transcriber_child.py" in " ".join(one.cmdline())]


# --- what it understands


@pytest.mark.parametrize("voice", VOICES)
def test_of_given_phrases_it_is_right(sphinx: SphinxTranscriber, voice: str) -> None:
    for phrase, speech in zip(COMMANDS, say(*[(one, Style(voice=voice)) for one in COMMANDS]), strict=True):
        transcript, _ = understood(sphinx, as_heard(speech), COMMANDS)
        assert transcript.text == phrase
        assert transcript.confidence > 0.5
        assert transcript.backend == sphinx.name == "pocketsphinx"


def test_something_else_is_none_of_the_phrases(sphinx: SphinxTranscriber, sentence: Samples) -> None:
    transcript, _ = understood(sphinx, sentence, COMMANDS)
    assert transcript.text in ("", *COMMANDS)  # it must choose, and may choose nothing
    assert transcript.confidence < 0.7


def test_words_come_while_they_are_spoken(sphinx: SphinxTranscriber, sentence: Samples) -> None:
    transcript, partial = understood(sphinx, sentence)
    assert transcript.text.startswith("how many people")
    assert 0 < transcript.confidence < 1
    assert len(partial) > 3
    assert all(before != after for before, after in itertools.pairwise(partial))
    assert partial[-1].startswith("how many people")


def test_the_first_person_is_a_capital(sphinx: SphinxTranscriber) -> None:
    (speech,) = say("I cannot find my keys.")
    assert understood(sphinx, as_heard(speech))[0].text.startswith("I ")


def test_quiet_speech_is_brought_to_a_level(sphinx: SphinxTranscriber, sentence: Samples) -> None:
    transcript, _ = understood(sphinx, (sentence / 60).astype(np.int16))
    assert transcript.text.startswith("how many people")


def test_it_depends_on_the_sound_alone(sphinx: SphinxTranscriber, sentence: Samples) -> None:
    """Not on what was heard before, nor on the pieces: a turn that is understood again has the same words."""
    before, _ = understood(sphinx, sentence)
    understood(sphinx, noise(1.6, -20))
    understood(sphinx, sentence[: 2 * HEARING_RATE], COMMANDS)
    unfinished = sphinx.utterance(COMMANDS)
    unfinished.feed(sentence[: 2 * HEARING_RATE])
    unfinished.close()
    assert understood(sphinx, sentence, piece=16_000)[0] == before
    assert understood(sphinx, sentence, piece=len(sentence))[0] == before


@pytest.mark.parametrize("sound", [silence(2), silence(0), silence(0.05), noise(0.05)])
def test_where_nobody_speaks_it_hears_no_words(sphinx: SphinxTranscriber, sound: Samples) -> None:
    assert understood(sphinx, sound)[0] == Transcript("", 0.0, "pocketsphinx")


# --- phrases that cannot be had


@pytest.mark.parametrize(
    ("phrases", "named"),
    [
        (["turn on the flurbl", "xyzzy now"], "“flurbl”, “xyzzy”"),
        (["call 112"], "“112”"),
        (["über"], "“über”"),
        (["the end", " ?! "], "without a word"),
        (["one"] * (MAX_PHRASES + 1), "1000 phrases"),
        (["la la " * 6_000], "10000 words"),
        (["a" * 5_000], "“" + "a" * 40 + "”"),
        ([f"zz{n}q" for n in range(99)], "and 89 more"),
    ],
)
def test_phrases_that_cannot_be_heard_are_refused(sphinx: SphinxTranscriber, phrases: list[str], named: str) -> None:
    for _ in range(3):  # each gives its decoder back
        with pytest.raises(Unusable, match=re.escape(named)):
            sphinx.utterance(phrases)


def test_phrases_may_begin_alike_and_repeat(sphinx: SphinxTranscriber) -> None:
    phrases = ["stop", "stop the music", "Stop the music!", "stop the music now please"]
    for said, heard in (("stop the music", "stop the music"), ("stop the music now please", phrases[3])):
        assert understood(sphinx, as_heard(say(said)[0]), phrases)[0].text == heard


# --- processes


def test_who_comes_when_all_listen_waits() -> None:
    transcriber = SphinxTranscriber(1)
    try:
        first = transcriber.utterance()
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(transcriber.utterance)
            first.feed(silence(0.1))
            assert not second.done()
            assert first.finish().text == ""
            waited = second.result(timeout=30)
        first.close()
        first.close()  # harmless, and the decoder is another's now
        with pytest.raises(ValueError, match="over"):
            first.feed(silence(0.1))
        assert waited.finish().text == ""
        assert understood(transcriber, silence(0.2))[0].text == ""
    finally:
        transcriber.close()


def test_another_hears_all_again_where_one_dies(sentence: Samples) -> None:
    before = children()
    transcriber = SphinxTranscriber(1)
    try:
        expected, _ = understood(transcriber, sentence)
        utterance = transcriber.utterance()
        half = 2 * HEARING_RATE
        utterance.feed(sentence[:half])
        (child,) = [one for one in children() if one not in before]
        child.kill()
        child.wait(10)
        utterance.feed(sentence[half:])
        assert utterance.finish() == expected
        assert understood(transcriber, silence(0.2))[0].text == ""  # it went back
    finally:
        transcriber.close()
    assert [one for one in children() if one not in before] == []


def test_two_deaths_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()
    transcriber = SphinxTranscriber(1)
    try:
        utterance = transcriber.utterance()
        monkeypatch.setattr(decoders, "START_S", 0.0)  # no other starts so soon
        (child,) = [one for one in children() if one not in before]
        child.kill()
        with pytest.raises(Unavailable, match="twice"):
            utterance.feed(silence(2))
        utterance.close()
        monkeypatch.undo()
        assert understood(transcriber, silence(0.2))[0].text == ""
    finally:
        transcriber.close()


def test_one_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "START_S", 0.0)
    with pytest.raises(ModelUnavailable):
        SphinxTranscriber(1)
