"""Drafts and talks about them with a real engine: a model of random weights can only do what can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest

from tasks import draft_tools
from tasks.base import run_job
from tests.gguf_model import make_tiny_model
from tests.tasks.draft_talks import ask as say
from tests.tasks.drafting import ask, events, result_of, said, talk, versions
from workers import registry
from workers.llm.local import LocalModel
from workers.ports import ChatRequest, Completion, Delta, Sampling

pytestmark = pytest.mark.usefixtures("sqlite", "held", "clean_redis")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalModel]:
    path = make_tiny_model(tmp_path_factory.mktemp("m") / "tiny.gguf", context_length=8192)
    model = LocalModel(path, n_ctx=4096, n_threads=1)
    yield model
    model.close()


@pytest.fixture(autouse=True)
def model(tiny: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "language_model", lambda _name, _on_wait=None: nullcontext(tiny))


def test_a_draft_has_a_title_and_a_description(clean_redis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import draft_material as task

    monkeypatch.setattr(task, "DRAFT_TOKENS", 200)
    job_id = ask(talk(4))
    run_job(job_id)
    (version,) = versions()
    assert 0 < len(version.title) <= 80
    assert version.description
    assert version.model == result_of(job_id)["model"] == "tiny"
    found = events(clean_redis, job_id)
    assert said(found).strip() == version.description
    assert len([event for event in found if event["type"] == "content"]) > 5


def test_whatever_it_says_or_calls_can_be_read(tiny: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn from all tokens alike, and with descriptions that come to an end by themselves."""
    stream, seeds = tiny.stream, iter(range(1000))

    def drawn(request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Delta | Completion]:
        sampling = Sampling(temperature=2.0, top_k=0, top_p=1.0, min_p=0.0, seed=next(seeds), max_tokens=150)
        yield from stream(replace(request, sampling=sampling), cancelled)

    monkeypatch.setattr(tiny, "stream", drawn)
    for place in draft_tools._UPDATE.parameters["properties"].values():
        monkeypatch.setitem(place, "maxLength", 10)
    conversation, seen = talk(4), set[str]()
    for _ in range(12):
        job_id = say(conversation, "Change it!")
        run_job(job_id)
        result = result_of(job_id)
        assert all(call["result"] for call in result["tool_calls"])
        changed = [call for call in result["tool_calls"] if not call["failed"]]
        if changed:
            assert result["project_draft"]["description"] == changed[-1]["arguments"]["description"].strip()
        seen |= {call["name"] for call in result["tool_calls"]} | ({"said"} if result["content"] else set())
    assert seen == {"said", "update_project_draft"}
