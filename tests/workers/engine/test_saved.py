"""Caches put aside on disk when their slot is needed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.workers.engine.answers import Reference, ask, prompt_of, wait_until_quiet
from tests.workers.engine.conftest import OpenEngine
from workers.engine.sequence import Priority
from workers.engine.shelf import Shelf
from workers.engine.states import States
from workers.ports import Delta

FIRST = "the people of the house ask what time it is " * 20
OTHER = "a long day in the water is what most words are about " * 20


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.state"))


@pytest.mark.parametrize("unified", [False, True], ids=["split", "unified"])
def test_a_conversation_comes_back_after_its_slot_was_needed(
    open_engine: OpenEngine, reference: Reference, tmp_path: Path, unified: bool
) -> None:
    engine = open_engine(slots=1, idle_slots=0, unified=unified, cache_dir=tmp_path)
    first = reference.tokens(FIRST)
    answer = ask(engine, first)
    ask(engine, reference.tokens(OTHER))
    wait_until_quiet(engine)
    reused = engine.stats().reused
    second = (*first, *answer.tokens, *reference.tokens(" and then the day"))
    assert ask(engine, second).tokens == reference.greedy(second, 40)
    wait_until_quiet(engine)
    assert engine.stats().reused - reused >= len(first) + 30
    assert tmp_path.joinpath(files(tmp_path)[0].parent.name).stat().st_mode & 0o077 == 0
    engine.forget_saved()
    assert files(tmp_path) == []


def test_it_comes_back_after_a_restart(open_engine: OpenEngine, reference: Reference, tmp_path: Path) -> None:
    first = reference.tokens(FIRST)
    engine = open_engine(slots=1, cache_dir=tmp_path)
    ask(engine, first)
    ask(engine, reference.tokens(OTHER))
    engine.close()
    assert files(tmp_path)
    engine = open_engine(slots=1, cache_dir=tmp_path)
    assert ask(engine, first).tokens == reference.greedy(first, 40)
    wait_until_quiet(engine)
    assert engine.stats().reused >= len(first) - 1
    engine.close()
    engine = open_engine(slots=1, cache_type="f32", cache_dir=tmp_path)  # another kind of cache cannot read it
    assert files(tmp_path) == []


@pytest.mark.parametrize("damage", [b"", b"bcstate1" + b"\xff" * 8, None])
def test_a_lost_or_broken_file_costs_time_only(
    open_engine: OpenEngine, reference: Reference, tmp_path: Path, damage: bytes | None
) -> None:
    engine = open_engine(slots=1, cache_dir=tmp_path)
    first = reference.tokens(FIRST)
    ask(engine, first)
    ask(engine, reference.tokens(OTHER))
    engine._states._writer.submit(lambda: None).result()  # type: ignore[union-attr]
    for path in files(tmp_path):
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage)
    assert ask(engine, first).tokens == reference.greedy(first, 40)
    wait_until_quiet(engine)
    engine.close()
    engine = open_engine(slots=1, cache_dir=tmp_path)
    assert ask(engine, first).tokens == reference.greedy(first, 40)


def test_a_preempted_answer_is_not_read_again(open_engine: OpenEngine, reference: Reference, tmp_path: Path) -> None:
    engine = open_engine(slots=1, cache_dir=tmp_path)
    prompt = reference.tokens(FIRST)
    stream = engine.submit(prompt_of(prompt, max_tokens=300, priority=Priority.SUMMARIZE)).stream()
    tokens = next(stream).tokens  # type: ignore[union-attr]
    ask(engine, reference.tokens("hello"), max_tokens=5)
    for item in stream:
        tokens += item.tokens if isinstance(item, Delta) else ()
    assert tokens == reference.greedy(prompt, 300)
    wait_until_quiet(engine)
    assert engine.stats().reused >= len(prompt)


@pytest.mark.parametrize("unified", [False, True], ids=["split", "unified"])
def test_what_is_forgotten_is_in_no_cache(
    open_engine: OpenEngine, reference: Reference, tmp_path: Path, unified: bool
) -> None:
    engine = open_engine(slots=2, idle_slots=2, unified=unified, cache_dir=tmp_path)
    for text in (FIRST, OTHER, FIRST[::-1]):
        ask(engine, reference.tokens(text))
    prompt = reference.tokens("what is the time of the day " * 20)
    running = engine.submit(prompt_of(prompt, max_tokens=300)).stream()
    tokens = next(running).tokens  # type: ignore[union-attr]
    engine.forget_saved()
    assert files(tmp_path) == []
    assert all(slot.busy or not slot.tokens for slot in engine._scheduler.prefixes.slots)
    for item in running:
        tokens += item.tokens if isinstance(item, Delta) else ()
    assert tokens == reference.greedy(prompt, 300)
    wait_until_quiet(engine)
    assert not any(slot.tokens for slot in engine._scheduler.prefixes.slots)
    assert not any(engine._runner.cached(slot.number) for slot in engine._scheduler.prefixes.slots)
    engine.close()
    engine.forget_saved()
    assert files(tmp_path) == []


def test_what_is_just_being_written_is_forgotten_too(
    open_engine: OpenEngine, reference: Reference, tmp_path: Path
) -> None:
    engine = open_engine(slots=1, cache_dir=tmp_path)
    assert engine._states is not None
    hold = threading.Event()
    engine._states._writer.submit(hold.wait, 10)
    ask(engine, reference.tokens(FIRST))
    ask(engine, reference.tokens(OTHER))
    assert files(tmp_path) == []
    forgetting = threading.Thread(target=engine.forget_saved)
    forgetting.start()
    hold.set()
    forgetting.join(10)
    assert not forgetting.is_alive()
    assert files(tmp_path) == []
    assert ask(engine, reference.tokens(FIRST)).tokens == reference.greedy(reference.tokens(FIRST), 40)


def test_the_shelf_is_bounded_and_keeps_what_was_used_last() -> None:
    shelf = Shelf(30, least=2)
    keys = [shelf.put((place,) * 10)[0] for place in range(3)]
    shelf.use(keys[0] or 0)
    key, gone = shelf.put((9,) * 10)
    assert gone == [keys[1]]
    assert set(shelf.kept) == {keys[0], keys[2], key}
    assert shelf.put((9,) * 8) == (None, [])  # is there already
    longer, gone = shelf.put((9,) * 12)
    assert key in gone
    assert longer is not None
    assert sum(map(len, shelf.kept.values())) <= 30
    assert shelf.put((5,) * 31) == (None, [])
    assert Shelf(0).put((5,) * 100) == (None, [])


def test_states_survive_and_foreign_ones_go(tmp_path: Path) -> None:
    states = States(tmp_path, "a")
    states.put(3, (1, 2, 3), b"abc")
    assert states.get(3) == b"abc"
    states.close()
    states = States(tmp_path, "a")
    assert states.kept() == [(3, (1, 2, 3))]
    states.drop(3)
    assert states.get(3) is None
    states.put(4, (1,), b"x")
    states.close()
    other = States(tmp_path, "b")
    assert other.kept() == []
    assert len(files(tmp_path)) == 0
    other.close()
