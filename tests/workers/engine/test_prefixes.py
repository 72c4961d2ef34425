from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.engine.prefixes import Prefixes, common_prefix
from workers.engine.sequence import Copy

TOKENS = st.lists(st.integers(0, 2), max_size=40)


@given(TOKENS, TOKENS)
def test_common_prefix(left: list[int], right: list[int]) -> None:
    length = common_prefix(left, right)
    assert left[:length] == right[:length]
    assert length == min(len(left), len(right)) or left[length] != right[length]


def filled(prefixes: Prefixes, *caches: list[int], busy: bool = False) -> Prefixes:
    for now, tokens in enumerate(caches):
        place = prefixes.place([*tokens, -1], len(tokens) + 1, 0)
        assert place is not None
        slot, keep = place
        prefixes.extend(slot, tokens[keep:])
        if not busy:
            prefixes.release(slot, float(now + 1))
    prefixes.operations.clear()
    return prefixes


def test_a_conversation_goes_on_in_its_own_slot() -> None:
    for shared in (False, True):
        prefixes = filled(Prefixes(3, 100, shared=shared), [1] * 10, [2] * 20, [3] * 10)
        assert prefixes.place([2] * 20 + [5], 30, 0) == (1, 20)
        assert prefixes.operations == []


def test_split_caches_are_not_given_up_for_a_few_common_tokens() -> None:
    prefixes = filled(Prefixes(2, 100, shared=False), [7, 7, *[1] * 30])
    place = prefixes.place([7, 7, *[2] * 30], 40, 0)
    assert place == (1, 0)
    assert prefixes.slots[0].tokens == [7, 7, *[1] * 30]


def test_the_cache_used_longest_ago_is_given_up_first() -> None:
    prefixes = filled(Prefixes(2, 100, shared=False), [1] * 10, [2] * 10)
    assert prefixes.place([3] * 5, 10, 0) == (0, 0)


def test_a_busy_sequence_shares_its_beginning_for_nothing() -> None:
    prefixes = filled(Prefixes(2, 40, shared=True), [1] * 30, busy=True)
    assert prefixes.used == 30
    assert prefixes.place([1] * 30 + [2], 35, 5) == (1, 30)
    assert prefixes.operations == [Copy(0, 1, 30)]
    assert prefixes.used == 30


def test_no_room_beside_what_runs_changes_nothing() -> None:
    prefixes = filled(Prefixes(3, 40, shared=True), [1] * 20)
    prefixes.slots[0].busy = True
    filled(prefixes, [2] * 5)
    assert prefixes.place([3] * 10, 30, 5) is None
    assert prefixes.slots[1].tokens == [2] * 5


def test_idle_caches_stay_until_the_room_is_needed() -> None:
    prefixes = filled(Prefixes(4, 40, shared=True), [1] * 10, [2] * 10, [3] * 10)
    assert prefixes.place([4] * 5, 15, 0) is not None
    assert [bool(slot.tokens) for slot in prefixes.slots[:3]] == [False, True, True]


def test_the_last_token_is_always_left_to_decode() -> None:
    prefixes = filled(Prefixes(1, 100, shared=False), [1] * 10)
    assert prefixes.place([1] * 10, 20, 0) == (0, 9)


def test_where_nothing_can_be_cut_only_whole_caches_are_gone_on_with() -> None:
    prefixes = filled(Prefixes(1, 100, shared=False, partial=False), [1] * 10)
    assert prefixes.place([1] * 12, 20, 0) == (0, 10)
    prefixes.release(0, 5.0)
    assert prefixes.place([1] * 8, 20, 0) == (0, 0)
