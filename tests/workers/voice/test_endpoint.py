"""Where utterances begin and end, of any probabilities."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.voice.endpoint import REACH_BACK_MS, Endpointer, Event, SpeechEnded, SpeechStarted
from workers.voice.ports import HEARING_RATE

WINDOW = 512  # 32 ms
MS = HEARING_RATE // 1000
PROBABILITIES = st.lists(st.sampled_from([0.0, 0.1, 0.4, 0.45, 0.6, 1.0]), max_size=400)
# Runs are what utterances are made of; single windows seldom make one.
RUNS = st.lists(st.tuples(st.sampled_from([0.0, 0.4, 0.9]), st.integers(1, 60)), max_size=20).map(
    lambda runs: [probability for probability, count in runs for _ in range(count)]
)


def endpointer(pause_ms: int = 600, min_speech_ms: int = 160, max_utterance_s: float = 60) -> Endpointer:
    return Endpointer(WINDOW, pause_ms=pause_ms, min_speech_ms=min_speech_ms, max_utterance_s=max_utterance_s)


def fed(one: Endpointer, *runs: tuple[float, int]) -> list[Event]:
    return [event for probability, count in runs for _ in range(count) for event in one.feed(probability)]


def windows(ms: int) -> int:
    return -(-ms * MS // WINDOW)


def test_an_utterance_begins_before_the_first_speech_and_ends_with_the_pause() -> None:
    started, ended = fed(endpointer(), (0.0, 20), (0.9, 30), (0.0, 40))
    assert started == SpeechStarted(20 * WINDOW - REACH_BACK_MS * MS)
    assert ended == SpeechEnded(started.start, (50 + windows(600)) * WINDOW, 50 * WINDOW, "pause")


def test_speech_from_the_first_window_on_begins_with_the_line() -> None:
    assert fed(endpointer(), (0.9, 30))[0] == SpeechStarted(0)


def test_a_click_is_no_utterance() -> None:
    one = endpointer()
    assert fed(one, (0.0, 10), (0.9, 4), (0.0, 100)) == []
    assert fed(one, (0.9, 5)) != []


def test_clicks_far_apart_do_not_add_up() -> None:
    assert fed(endpointer(), *[(0.9, 2), (0.0, 12)] * 20) == []


def test_a_short_pause_is_within() -> None:
    events = fed(endpointer(), (0.9, 20), (0.0, windows(600) - 1), (0.9, 20), (0.0, windows(600)))
    assert [type(event) for event in events] == [SpeechStarted, SpeechEnded]


def test_what_goes_on_may_be_less_certain_than_what_begins() -> None:
    assert fed(endpointer(), (0.45, 100)) == []
    one = endpointer()
    assert [type(event) for event in fed(one, (0.6, 10), (0.45, 100))] == [SpeechStarted]
    assert one.is_speaking


def test_endless_speech_is_cut_and_goes_on_without_a_gap() -> None:
    events = fed(endpointer(max_utterance_s=2), (0.9, 400))
    ends = [event for event in events if isinstance(event, SpeechEnded)]
    starts = [event for event in events if isinstance(event, SpeechStarted)]
    assert len(ends) == 6
    assert {event.reason for event in ends} == {"max_length"}
    assert [start.start for start in starts[1:]] == [end.end for end in ends][: len(starts) - 1]
    assert all(end.end - end.start < 2 * HEARING_RATE + WINDOW for end in ends)


def test_who_says_that_it_is_all_has_it_ended() -> None:
    one = endpointer()
    fed(one, (0.9, 30))
    assert one.force_end() == [SpeechEnded(0, 30 * WINDOW, 30 * WINDOW, "forced")]
    assert not one.is_speaking
    assert one.force_end() == []


def test_forced_in_silence_or_in_a_click_nothing_ends() -> None:
    one = endpointer()
    assert one.force_end() == []
    fed(one, (0.0, 10), (0.9, 2))
    assert one.force_end() == []
    assert fed(one, (0.9, 4)) == []  # the click before does not count


@pytest.mark.parametrize("pause_ms", [100, 600, 2000])
def test_the_pause_is_configurable(pause_ms: int) -> None:
    ended = fed(endpointer(pause_ms), (0.9, 30), (0.0, 100))[-1]
    assert isinstance(ended, SpeechEnded)
    assert ended.end == (30 + windows(pause_ms)) * WINDOW


def walked(one: Endpointer, probabilities: list[float], forced: set[int]) -> list[Event]:
    events: list[Event] = []
    for place, probability in enumerate(probabilities):
        events += one.feed(probability)
        assert all(isinstance(event, SpeechStarted | SpeechEnded) for event in events)
        if place in forced:
            events += one.force_end()
    return events


@given(PROBABILITIES | RUNS, st.sets(st.integers(0, 400), max_size=5), st.integers(100, 2000), st.integers(32, 500))
def test_utterances_of_anything_are_in_order_apart_and_bounded(
    probabilities: list[float], forced: set[int], pause_ms: int, min_speech_ms: int
) -> None:
    one = endpointer(pause_ms, min_speech_ms, 3)
    events = walked(one, probabilities, forced)
    assert [type(event) for event in events[::2]] == [SpeechStarted] * len(events[::2])
    assert [type(event) for event in events[1::2]] == [SpeechEnded] * len(events[1::2])
    assert one.is_speaking == (len(events) % 2 == 1)
    before = 0
    for started, ended in zip(events[::2], events[1::2], strict=False):
        assert isinstance(ended, SpeechEnded)
        assert before <= started.start == ended.start < ended.speech_end <= ended.end <= len(probabilities) * WINDOW
        assert ended.end % WINDOW == 0
        assert ended.end - ended.start >= min_speech_ms * MS
        assert ended.end - ended.start < 3 * HEARING_RATE + WINDOW
        before = ended.end


@given(RUNS, st.sets(st.integers(0, 400), max_size=3))
def test_no_speech_is_left_out_that_is_long_enough(probabilities: list[float], forced: set[int]) -> None:
    """A run of clear speech of twice the shortest length, not cut by force, is in some utterance, but for its first
    windows behind a cut."""
    one = endpointer(max_utterance_s=1000)
    events = walked(one, probabilities, forced)
    spans = [(event.start, event.end) for event in events if isinstance(event, SpeechEnded)]
    if one.is_speaking:
        spans.append((events[-1].start, len(probabilities) * WINDOW))
    for first in range(len(probabilities) - 9):
        run = range(first, first + 10)
        if all(probabilities[place] >= 0.9 for place in run) and not forced & {*run}:
            assert any(start <= first * WINDOW and (first + 10) * WINDOW <= end for start, end in spans)


@given(RUNS)
def test_who_begins_between_two_utterances_finds_the_same_ones(probabilities: list[float]) -> None:
    """As another worker does, that takes over behind the utterance that was understood last."""
    ends = [event for event in walked(endpointer(), probabilities, set()) if isinstance(event, SpeechEnded)]
    if not ends:
        return
    cut = ends[0].end
    later = walked(endpointer(), probabilities[cut // WINDOW :], set())
    again = [(event.start + cut, event.end + cut) for event in later if isinstance(event, SpeechEnded)]
    assert again == [(event.start, event.end) for event in ends[1:]]
