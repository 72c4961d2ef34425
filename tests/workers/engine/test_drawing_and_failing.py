from __future__ import annotations

import math
from typing import Any

import pytest

from config.errors import ModelUnavailable, Unusable
from tests.workers.engine.answers import Reference, ask, prompt_of, read, wait_until_quiet
from tests.workers.engine.conftest import OpenEngine
from workers.engine.runner import DecodeFailed
from workers.ports import Delta

# --- drawing


def test_logprobs_are_told_with_each_token(open_engine: OpenEngine, reference: Reference) -> None:
    engine = open_engine()
    said = ask(engine, reference.tokens("hello"), logprobs=3)
    for delta in said.deltas:
        assert isinstance(delta, Delta)
        assert tuple(told.token for told in delta.logprobs) == delta.tokens
        for told in delta.logprobs:
            assert told.top[0] == (told.token, told.logprob)  # greedy draws the likeliest
            assert sum(math.exp(one) for _, one in told.top) <= 1.0 + 1e-6
            assert told.spellings[0] == told.spellings[1] == engine.model.piece(told.token)  # type: ignore[arg-type]
            assert len(told.spellings) == 4
    assert ask(engine, reference.tokens("hello")).tokens == said.tokens


def test_bias_and_penalties_change_what_is_drawn(open_engine: OpenEngine, reference: Reference) -> None:
    engine = open_engine()
    prompt = reference.tokens("hello")
    plain = ask(engine, prompt)
    without = ask(engine, prompt, logit_bias={str(plain.tokens[0]): -100.0})
    assert plain.tokens[0] not in without.tokens
    always = ask(engine, prompt, logit_bias={str(plain.tokens[3]): 1000.0})
    assert set(always.tokens) == {plain.tokens[3]}
    for penalty in ({"presence_penalty": 1000.0}, {"frequency_penalty": 1000.0}, {"repeat_penalty": 1e6}):
        varied = ask(engine, prompt, logit_bias={str(plain.tokens[3]): 30.0}, **penalty)
        assert len(set(varied.tokens)) == len(varied.tokens), penalty


@pytest.mark.parametrize("token", ["1000000000", "-1", "", "x", "1.5"])
def test_a_bias_on_what_the_model_does_not_know_is_refused(open_engine: OpenEngine, token: str) -> None:
    with pytest.raises(Unusable, match="logit_bias"):
        open_engine().submit(prompt_of([1], logit_bias={token: 1.0}))


# --- failing


def test_a_failed_step_fails_its_answers_and_no_others(
    open_engine: OpenEngine, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine()
    decode, failures = engine._runner.decode, iter([True, False])

    def fail_once(steps: Any) -> Any:
        if next(failures, False):
            raise DecodeFailed("as asked")
        return decode(steps)

    monkeypatch.setattr(engine._runner, "decode", fail_once)
    with pytest.raises(ModelUnavailable) as caught:
        ask(engine, reference.tokens("hello"))
    assert caught.value.retryable
    prompt = reference.tokens("what is the time")
    assert ask(engine, prompt).tokens == reference.greedy(prompt, 40)
    wait_until_quiet(engine)


def test_an_engine_that_keeps_failing_says_so_and_hangs_nobody(
    open_engine: OpenEngine, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine()

    def fail(steps: Any) -> Any:
        raise DecodeFailed("as asked")

    monkeypatch.setattr(engine._runner, "decode", fail)
    for _ in range(5):
        with pytest.raises(ModelUnavailable):
            ask(engine, reference.tokens("hello"))


def test_closing_fails_what_is_live_as_retryable(open_engine: OpenEngine, reference: Reference) -> None:
    engine = open_engine(slots=1)
    answers = [engine.submit(prompt_of(reference.tokens("hello"), max_tokens=1000)) for _ in range(2)]
    engine.close()
    for answer in answers:
        with pytest.raises(ModelUnavailable, match="closed"):
            read(answer)
    with pytest.raises(ModelUnavailable):
        engine.submit(prompt_of([1]))
    engine.close()


def test_tokens_of_another_model_are_refused(open_engine: OpenEngine) -> None:
    engine = open_engine()
    for tokens in ([], [-1], [10**6]):
        with pytest.raises(Unusable):
            engine.submit(prompt_of(tokens))
    with pytest.raises(Unusable):
        engine.submit(prompt_of([1], resumed=(10**6,)))
