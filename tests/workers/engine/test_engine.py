from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest

from config.errors import DeadlineExceeded, PromptTooLong
from tests.workers.engine.answers import Reference, ask, prompt_of, read, sentences, wait_until_quiet
from tests.workers.engine.conftest import OpenEngine
from workers.engine.scheduler import Limits
from workers.engine.sequence import Priority
from workers.ports import Completion, Delta

CACHES = pytest.mark.parametrize("unified", [False, True], ids=["split", "unified"])
SMALL_STEPS = Limits(prefill_chunk=24, min_chunk=8, pause_s=0.001, step_s=0.001)


# --- the same answers


@CACHES
@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("reuse", [True, False], ids=["reuse", "afresh"])
def test_together_they_say_what_each_says_alone(
    open_engine: OpenEngine, reference: Reference, unified: bool, slots: int, reuse: bool
) -> None:
    engine = open_engine(unified=unified, slots=slots, reuse=reuse, limits=SMALL_STEPS)
    prompts = [reference.tokens(text) for text in sentences(12)]
    expected = [reference.greedy(prompt, 40) for prompt in prompts]
    answers = [engine.submit(prompt_of(prompt)) for prompt in prompts]
    assert [read(answer).tokens for answer in answers] == expected
    wait_until_quiet(engine)
    assert (engine.stats().reused > 0) == reuse


@CACHES
def test_thirty_two_at_once_on_four_slots(open_engine: OpenEngine, reference: Reference, unified: bool) -> None:
    engine = open_engine(unified=unified)
    prompts = [reference.tokens(text) for text in sentences(32, seed=1)]
    expected = [reference.greedy(prompt, 20) for prompt in prompts]
    said: dict[int, tuple[int, ...]] = {}

    def attend(place: int) -> None:
        said[place] = ask(engine, prompts[place], max_tokens=20, owner=f"o{place % 5}").tokens

    threads = [threading.Thread(target=attend, args=(place,)) for place in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [said[place] for place in range(32)] == expected
    wait_until_quiet(engine)


@CACHES
def test_the_second_turn_reads_only_what_is_new(open_engine: OpenEngine, reference: Reference, unified: bool) -> None:
    engine = open_engine(unified=unified)
    first = reference.tokens("the people of the house ask what time it is " * 20)
    answer = ask(engine, first)
    second = (*first, *answer.tokens, *reference.tokens(" and then the day"))
    wait_until_quiet(engine)
    read_before = engine.stats().read
    assert ask(engine, second).tokens == reference.greedy(second, 40)
    wait_until_quiet(engine)
    assert engine.stats().read - read_before <= len(second) - len(first) - len(answer.tokens) + 1


def test_a_running_answer_shares_its_beginning(open_engine: OpenEngine, reference: Reference) -> None:
    engine = open_engine(unified=True)
    system = reference.tokens("be kind and answer with few words " * 20)
    running = engine.submit(prompt_of(system, max_tokens=600))
    stream = running.stream()
    next(stream)
    other = (*system, *reference.tokens(" what is the time"))
    assert ask(engine, other).tokens == reference.greedy(other, 40)
    assert engine.stats().reused >= len(system) - 1
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    wait_until_quiet(engine)


# --- coming, leaving, stopping


@CACHES
@pytest.mark.parametrize("seed", range(4))
def test_nothing_leaks_however_they_come_and_go(
    open_engine: OpenEngine, reference: Reference, unified: bool, seed: int
) -> None:
    chance = random.Random(seed)
    engine = open_engine(unified=unified, slots=3, context_tokens=512, shared_tokens=1024, limits=SMALL_STEPS)
    texts = sentences(20, seed)
    threads = []

    def attend(fields: dict[str, Any], prompt: tuple[int, ...], patience: int, late_s: float) -> None:
        time.sleep(late_s)
        asked = iter(range(10_000))
        answer = engine.submit(prompt_of(prompt, **fields))
        try:
            *_, end = answer.stream(lambda: next(asked) >= patience)
            assert isinstance(end, Completion)
        except DeadlineExceeded:
            assert fields["deadline_s"] is not None

    for text in texts:
        fields = {
            "max_tokens": chance.randint(1, 60),
            "temperature": chance.choice([0.0, 1.0]),
            "stop": chance.choice([(), ("e",), ("the ", "of")]),
            "priority": chance.choice(list(Priority)),
            "owner": chance.choice("abc"),
            "deadline_s": chance.choice([None, None, 0.02]),
        }
        arguments = (fields, reference.tokens(text), chance.choice([0, 3, 1000]), chance.random() * 0.2)
        threads.append(threading.Thread(target=attend, args=arguments))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until_quiet(engine)


def test_cancel_while_the_prompt_is_read(open_engine: OpenEngine, reference: Reference) -> None:
    engine = open_engine(slots=1, limits=Limits(prefill_chunk=8, min_chunk=1, step_s=0.0))
    answer = engine.submit(prompt_of(reference.tokens("what is the time " * 200)))
    while not answer.sequence.computed:
        time.sleep(0.0005)
    answer.cancel()
    said = read(answer)
    assert said.deltas == ()
    assert said.end.finish_reason == "cancelled"
    assert 0 < len(engine._scheduler.prefixes.slots[0].tokens) < len(answer.sequence.tokens)
    wait_until_quiet(engine)
    assert ask(engine, reference.tokens("again")).end.finish_reason == "length"


def test_who_stops_reading_frees_the_slot(open_engine: OpenEngine, reference: Reference) -> None:
    engine = open_engine(slots=1)
    stream = engine.submit(prompt_of(reference.tokens("hello"), max_tokens=900)).stream()
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    wait_until_quiet(engine)


def test_a_deadline_ends_the_answer(open_engine: OpenEngine, reference: Reference) -> None:
    engine = open_engine(slots=1)
    stream = engine.submit(prompt_of(reference.tokens("hello"), max_tokens=1000, deadline_s=1000)).stream()
    said = [next(stream) for _ in range(5)]
    engine._clock = lambda: time.monotonic() + 2000
    with pytest.raises(DeadlineExceeded):
        said.extend(stream)
    assert 5 <= len(said) < 1000
    assert all(isinstance(item, Delta) for item in said)
    wait_until_quiet(engine)


def test_a_deadline_ends_the_waiting(open_engine: OpenEngine, reference: Reference) -> None:
    engine = open_engine(slots=1)
    running = engine.submit(prompt_of(reference.tokens("hello"), max_tokens=900))
    with pytest.raises(DeadlineExceeded):
        ask(engine, reference.tokens("hello"), deadline_s=0.0)
    running.cancel()
    wait_until_quiet(engine)


def test_stop_strings(open_engine: OpenEngine, reference: Reference) -> None:
    engine = open_engine()
    prompt = reference.tokens("hello")
    whole = ask(engine, prompt).text
    for start in range(2, len(whole) - 5, 3):
        stop = whole[start : start + 4]
        said = ask(engine, prompt, stop=("\x00never", stop))
        assert said.text == whole[: whole.find(stop)]
        assert said.end.finish_reason == "stop"
    wait_until_quiet(engine)


@CACHES
@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0, "seed": 11}], ids=["greedy", "seeded"])
def test_a_resumed_answer_is_the_same_answer(
    open_engine: OpenEngine, reference: Reference, unified: bool, sampling: dict[str, Any]
) -> None:
    engine = open_engine(unified=unified, reuse=False)
    prompt = reference.tokens("what is the time")
    whole = ask(engine, prompt, **sampling)
    for cut in (1, 2, len(whole.deltas) // 2, len(whole.deltas) - 1):
        tokens = tuple(token for delta in whole.deltas[:cut] for token in delta.tokens)
        text = "".join(delta.text for delta in whole.deltas[:cut])
        rest = ask(engine, prompt, resumed=tokens, shown=text, **sampling)
        assert text + rest.text == whole.text
        assert tokens + rest.tokens == whole.tokens
        assert rest.end == whole.end


def test_the_context_is_the_end(open_engine: OpenEngine) -> None:
    for unified in (False, True):
        engine = open_engine(unified=unified, context_tokens=256)
        said = ask(engine, [5] * 200, max_tokens=1000)
        assert said.end == Completion("length", 200, 56)
        with pytest.raises(PromptTooLong, match="256"):
            engine.submit(prompt_of([5] * 256))
        assert ask(engine, [5] * 255, max_tokens=9).end == Completion("length", 255, 1)
        wait_until_quiet(engine)


# --- classes and queue


def test_chat_passes_summaries(open_engine: OpenEngine, reference: Reference) -> None:
    engine = open_engine(slots=2)
    long = reference.tokens("the people of the house " * 60)
    summaries = [
        engine.submit(prompt_of([*long, place], max_tokens=300, priority=Priority.SUMMARIZE)) for place in range(4)
    ]
    ended: list[str] = []

    def attend(name: str, answer: Any) -> None:
        said = read(answer)
        assert said.end.finish_reason == "length"
        ended.append(name)

    threads = [threading.Thread(target=attend, args=("summary", answer)) for answer in summaries]
    chat = engine.submit(prompt_of(reference.tokens("hello"), max_tokens=10))
    threads.append(threading.Thread(target=attend, args=("chat", chat)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended[0] == "chat"
    wait_until_quiet(engine)


def test_a_preempted_answer_is_the_same_answer(open_engine: OpenEngine, reference: Reference) -> None:
    for unified in (False, True):
        engine = open_engine(unified=unified, slots=1)
        prompt = reference.tokens("a summary of the day")
        answer = engine.submit(prompt_of(prompt, max_tokens=150, priority=Priority.SUMMARIZE))
        stream = answer.stream()
        tokens = next(stream).tokens  # type: ignore[union-attr]
        for place in range(3):
            assert ask(engine, [place + 3] * 20, max_tokens=5).end.finish_reason == "length"
        for item in stream:
            tokens += item.tokens if isinstance(item, Delta) else ()
        assert tokens == reference.greedy(prompt, 150)
        wait_until_quiet(engine)


def test_who_waits_is_told_his_place(open_engine: OpenEngine, reference: Reference) -> None:
    engine = open_engine(slots=1)
    ask(engine, reference.tokens("hello"))
    running, *waiting = [
        engine.submit(prompt_of(reference.tokens("hello"), max_tokens=900, job_id=f"job {number}"))
        for number in range(3)
    ]
    end = time.monotonic() + 5
    while engine.waiting(waiting[1]) is None and time.monotonic() < end:
        time.sleep(0.01)
    place, eta = engine.waiting(waiting[1]) or (0, None)
    assert place == 2
    assert eta is not None
    assert eta > 0
    assert engine.waiting(running) is None
    jobs = engine.waiting_jobs()
    assert {name: where[0] for name, where in jobs.items()} == {"job 1": 1, "job 2": 2}
    assert engine.stats().answer_s is not None
    for answer in (running, *waiting):
        answer.cancel()
