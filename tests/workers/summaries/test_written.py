"""A conversation of any length through a small window; what was summarised before is not read again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import pytest

from config.errors import ProviderRefused, ProviderUnavailable, Unusable
from tests.gguf_model import make_tiny_model
from tests.workers.summaries.scripted import Scripted, answer_to, quoted, request_for, turns
from workers.llm.local import LocalModel
from workers.ports import ChatRequest, Completion, Delta, LanguageModel, SummaryRequest, SummaryStep, Turn
from workers.summaries import prompts
from workers.summaries.written import Budget, WrittenSummarizer


@dataclass
class Told:
    """What a summariser yielded."""

    steps: list[SummaryStep] = field(default_factory=list)
    text: str = ""
    completion: Completion | None = None

    @property
    def parts(self) -> dict[str, str]:
        return {digest: text for step in self.steps for digest, text in step.parts.items()}


def never() -> bool:
    return False


def run(
    model: Scripted, request: SummaryRequest, cancelled: Callable[[], bool] = never, told: Told | None = None
) -> Told:
    told = told or Told()
    for item in WrittenSummarizer(model, model.use).summarize(request, cancelled):
        assert told.completion is None, "a completion is the last thing"
        if isinstance(item, SummaryStep):
            told.steps.append(item)
        elif isinstance(item, Delta):
            told.text += item.text
        else:
            told.completion = item
    assert told.completion is not None
    return told


def test_what_fits_is_read_at_once() -> None:
    model = Scripted()
    told = run(model, request_for(turns(10)))
    assert model.counts == {"whole": 1}
    (request,) = model.requests
    assert request.messages[1].content.startswith("Title: A talk\nDates: 2025-01-01\n\n<conversation>\nUser: Message")
    assert quoted(request).count("Message number") == 10
    assert told.text == answer_to(request)
    assert (request.work_class, request.sampling.temperature, request.resume_text) == ("summarize", 0, "")
    assert [(step.done, step.total, step.phase) for step in told.steps] == [(0, 1, "final")]


def test_what_does_not_fit_is_read_in_parts_and_joined() -> None:
    model = Scripted()
    told = run(model, request_for(turns(3000)))
    assert model.counts["part"] > 90
    assert model.counts["join"] > 0
    assert model.counts["final"] == 1
    parts = "".join(sorted(model.asked(prompts.PART), key=lambda text: int(text.split()[3])))
    assert [int(word) for word in parts.split() if word.isdecimal()] == list(range(3000))
    assert told.text == answer_to(model.requests[-1])
    assert model.requests[-1].messages[1].content.startswith("Title: A talk\nDates: 2025-01-01 to 2025-01-30\n")


def test_every_request_fits_the_window() -> None:
    model = Scripted()
    run(model, request_for((*turns(300), Turn("assistant", "One sentence of six words. " * 500), *turns(20))))
    for request in model.requests:
        prompt = sum(model.count_tokens(message.content) for message in request.messages)
        assert prompt + request.sampling.max_tokens <= model.context_tokens


def test_progress_counts_the_parts_of_each_level() -> None:
    told = run(Scripted(), request_for(turns(3000)))
    phases = list(dict.fromkeys(step.phase for step in told.steps))
    assert phases == ["map", "reduce", "final"]
    maps = [step for step in told.steps if step.phase == "map"]
    assert (maps[0].done, maps[-1].done) == (0, maps[0].total)
    assert [step.done for step in maps] == sorted({step.done for step in maps})
    assert {step.total for step in maps} == {maps[0].total}


# --- what is not read again


def test_the_same_again_costs_the_last_request_only() -> None:
    first = run(Scripted(), request_for(turns(3000)))
    model = Scripted()
    again = run(model, request_for(turns(3000), parts=first.parts))
    assert model.counts == {"final": 1}
    assert (again.text, again.parts) == (first.text, first.parts)


@pytest.mark.parametrize("length", [2990, 3000, 3003, 3007])
def test_ten_new_messages_cost_one_part_and_the_way_up(length: int) -> None:
    first = run(Scripted(), request_for(turns(length)))
    model = Scripted()
    again = run(model, request_for(turns(length + 10), parts=first.parts))
    assert (model.counts["part"], model.counts["final"]) == (1, 1)
    levels = 3
    assert model.counts.get("join", 0) <= levels
    (read,) = model.asked(prompts.PART)
    assert all(f"number {place} " in read for place in range(length, length + 10))
    assert len(again.parts.keys() - first.parts.keys()) <= 1 + levels


def test_an_edit_in_the_middle_costs_a_few() -> None:
    said = turns(3000)
    first = run(Scripted(), request_for(said))
    model = Scripted()
    edited = (*said[:1500], replace(said[1500], content="Something else entirely was said here."), *said[1501:])
    run(model, request_for(edited, parts=first.parts))
    assert model.counts["part"] <= 12


def test_another_model_begins_anew() -> None:
    first = run(Scripted(), request_for(turns(300)))
    other = Scripted()
    other.name = "another"
    run(other, request_for(turns(300), parts=first.parts))
    assert other.counts["part"] == first.steps[0].total > 5


def test_what_was_said_by_an_earlier_attempt_is_continued() -> None:
    model = Scripted()
    told = run(model, request_for(turns(10), resume_text="Summary ", resume_tokens=(0,)))
    assert (model.requests[0].resume_text, model.requests[0].resume_tokens) == ("Summary ", (0,))
    assert f"Summary {told.text}" == answer_to(model.requests[0])


# --- what goes wrong


def test_a_cancel_ends_all_that_is_on_its_way() -> None:
    model, flag = Scripted(), threading.Event()
    model.between = flag.set
    told = run(model, request_for(turns(3000)), flag.is_set)
    assert told.completion == Completion("cancelled", 0, 0)
    assert len(model.requests) <= 2
    assert (told.text, model.held) == ("", 0)


def test_an_error_ends_the_others_and_keeps_what_was_written() -> None:
    def fail(number: int) -> None:
        if number == 6:
            raise ProviderUnavailable("The provider went away.")

    model, told = Scripted(), Told()
    model.before = fail
    with pytest.raises(ProviderUnavailable):
        run(model, request_for(turns(3000)), told=told)
    assert (len(told.parts), len(model.requests), model.held) == (4, 6, 0)


def test_left_early_it_lets_go_of_the_model() -> None:
    model = Scripted()
    items = WrittenSummarizer(model, model.use).summarize(request_for(turns(10)), never)
    while not isinstance(next(items), Delta):
        assert model.held == 0, "it is held while it writes, not between"
    assert model.held == 1
    items.close()
    assert model.held == 0


def test_a_part_about_which_nothing_is_said_is_left_out_and_asked_for_again() -> None:
    model = Scripted()
    model.says = lambda request: "" if "number 5 " in quoted(request) else answer_to(request)
    told = run(model, request_for(turns(300)))
    assert told.text
    assert len(told.parts) == model.counts["part"] - 1 + model.counts.get("join", 0)


def test_a_model_that_says_nothing_is_an_error() -> None:
    for count in (10, 300):
        model = Scripted()
        model.says = lambda _request: " "
        with pytest.raises(ProviderRefused, match="wrote nothing"):
            run(model, request_for(turns(count)))


def test_a_model_that_says_too_much_is_cut_short_so_that_it_ends() -> None:
    """A remote model's tokens are estimated: what it says may count for more than was asked for."""
    model = Scripted()
    model.says = lambda request: (
        "So much was said here. " * (3 if request.messages[0].content == prompts.FINAL else 200)
    )
    told = run(model, request_for(turns(1000)))
    assert told.completion is not None
    budget = Budget.of(model)
    assert all(model.count_tokens(text) <= budget.piece // 3 for text in told.parts.values())


def test_a_window_too_small_is_told() -> None:
    with pytest.raises(Unusable, match="reads 300 tokens"):
        Budget.of(Scripted(300))


def test_a_large_window_is_not_filled() -> None:
    """Ten new messages cost a piece."""
    assert Budget.of(Scripted(1_000_000)).piece == 8000


# --- a real model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalModel]:
    model = LocalModel(make_tiny_model(tmp_path_factory.mktemp("m") / "tiny.gguf"), n_ctx=1600, n_threads=1)
    yield model
    model.close()


def test_a_real_engine_summarises_in_parts_and_again_from_them(tiny: LocalModel) -> None:
    requests: list[ChatRequest] = []

    def use() -> AbstractContextManager[LanguageModel]:
        return nullcontext(tiny)

    real = tiny.stream

    def counted(request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Delta | Completion]:
        requests.append(request)
        yield from real(request, cancelled)

    said = turns(60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "stream", counted)
        parts: dict[str, str] = {}
        texts = []
        counts = []
        for _ in range(2):
            text = ""
            for item in WrittenSummarizer(tiny, use).summarize(request_for(said, parts=dict(parts)), never):
                if isinstance(item, SummaryStep):
                    parts |= item.parts
                elif isinstance(item, Delta):
                    text += item.text
            texts.append(text)
            counts.append(len(requests))
    assert texts[0].strip()
    assert texts[0] == texts[1]
    assert counts[0] > 3
    assert counts[1] - counts[0] == 1


# --- somebody's own words


def test_the_summary_is_written_by_the_instruction_that_was_given() -> None:
    model = Scripted()
    for said, instruction in ((turns(4), "In rhymes."), (turns(400), f"{prompts.OF_PARTS}\n\nIn rhymes.")):
        model.requests.clear()
        list(WrittenSummarizer(model, model.use, "In rhymes.").summarize(request_for(said), never))
        assert model.requests[-1].messages[0].content == instruction
        others = {request.messages[0].content for request in model.requests[:-1]}
        assert others <= {prompts.PART, prompts.JOIN}, "parts are told what they always are, and so they are kept"


def test_room_is_left_for_a_long_instruction() -> None:
    model = Scripted()
    with model.use():
        own = WrittenSummarizer(model, model.use, "word " * 200)
        assert own._budget.piece < WrittenSummarizer(model, model.use)._budget.piece - 100
        with pytest.raises(Unusable):
            WrittenSummarizer(model, model.use, "word " * 700)
