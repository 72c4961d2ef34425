"""Every source's export becomes rows, and the same file again changes none of them, whichever database holds them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from config.queues import Kind
from config.settings import reset_settings
from storage import blobs
from tasks.base import run_job
from tests import factories
from tests.exports.claude import claude_conversation, claude_message, claude_zip
from tests.exports.gemini import gemini_cell, gemini_page, gemini_record
from tests.exports.grok import grok_conversation, grok_share, grok_zip
from tests.exports.local import as_json, librechat_export, llm_logs, llm_response, webui_chat
from tests.exports.pages import (
    CLAUDE_URL,
    GROK_URL,
    URL,
    chatgpt_asked,
    chatgpt_page,
    chatgpt_said,
    claude_asked,
    claude_page,
    claude_said,
    grok_bubble,
    grok_page,
    new_page,
    routed,
    shared_data,
    single_file,
    turbo_stream,
)
from tests.standins.share_host import share_host

pytestmark = pytest.mark.usefixtures("database", "held", "clean_redis")


def exports(tmp_path: Path) -> dict[str, list[bytes]]:
    """Each holds one conversation: “Hello?”, “Hello.”."""
    page = gemini_page(gemini_cell("Prompted&nbsp;Hello?", "<p>Hello.</p>", "Jul 1, 2025, 10:05:00 AM UTC"))
    responses = [llm_response("r", "Hello?", "Hello.", "c")]
    asked = {"inserted_at": "2025-02-01T10:00:00Z", "fragments": [{"type": "REQUEST", "content": "Hello?"}]}
    said = asked | {"fragments": [{"type": "THINK", "content": "Hm."}, {"type": "RESPONSE", "content": "Hello."}]}
    mapping = {"1": {"parent": None, "message": asked}, "2": {"parent": "1", "message": said}}
    return {
        "claude": [
            claude_zip([claude_conversation("c")], {"projects.json": b"[" + b" " * 100 + b"]"}),
            claude_page(claude_asked("Hello?"), claude_said("Hello.")),
            single_file(claude_page(claude_asked("Hello?"), claude_said("Hello."), url=None), CLAUDE_URL[:-1] + "f"),
        ],
        "grok": [
            grok_zip([grok_conversation("c")]),
            grok_page(grok_bubble("Hello?", asked=True), grok_bubble("<p>Hello.</p>")),
        ],
        "open-webui": [as_json([webui_chat("c")])],
        "librechat": [as_json(librechat_export("c"))],
        "deepseek": [as_json([{"id": "c", "title": "T", "mapping": mapping}])],
        "llm": [llm_logs(tmp_path / "logs.db", {"responses": responses})],
        "gemini": [as_json([gemini_record("Prompted Hello?")]), page],
        "chatgpt": [
            new_page(turbo_stream(routed(shared_data()))),
            single_file(chatgpt_page(chatgpt_asked("Hello?"), chatgpt_said("Hello."), url=None), f"{URL[:-1]}2"),
        ],
    }


SOURCES = ("claude", "grok", "open-webui", "librechat", "deepseek", "llm", "gemini", "chatgpt")


def counts(data: bytes) -> dict[str, int]:
    digest, _ = blobs.store(io.BytesIO(data), 100_000_000)
    job_id = factories.job(Kind.IMPORT, input={"blob": digest, "filename": "upload.bin"})
    run_job(job_id)
    job = factories.load(job_id)
    assert job.status == "succeeded", job.error
    assert job.result is not None
    return {status: number for status, number in job.result["conversations"].items() if number}


@pytest.mark.parametrize("source", SOURCES)
def test_an_export_of_every_source(source: str, tmp_path: Path) -> None:
    files = exports(tmp_path)[source]
    for data in files:
        assert counts(data) == {"created": 1}
        assert counts(data) == {"unchanged": 1}
    rows = factories.all_conversations()
    assert {row.source for row in rows} == {source}
    for row in rows:
        kept = [message for message in factories.all_messages(row.id) if message.on_path]
        assert [message.content for message in kept if message.visibility == "visible"] == ["Hello?", "Hello."]


def test_a_grown_conversation_is_updated_and_what_is_hostile_is_stored() -> None:
    assert counts(claude_zip([claude_conversation("c")])) == {"created": 1}
    ends = claude_message("m", "human", "More \ud800\u0000 <script>", minute=9, parent_message_uuid="c-1")
    grown = claude_conversation("c")
    grown["chat_messages"].append(ends)
    assert counts(claude_zip([grown])) == {"updated": 1}
    (row,) = factories.all_conversations()
    assert factories.shown(row.id) == ["Hello?", "Hello.", "More \ufffd <script>"]


@pytest.mark.parametrize("source", ["claude", "grok"])
def test_a_link_s_data_and_its_page_are_read_alike(source: str, settings: pytest.MonkeyPatch) -> None:
    said = claude_conversation("c") | {"snapshot_name": "Roses"}
    link, data, page = {
        "claude": (CLAUDE_URL, as_json(said), claude_page(claude_asked("Hello?"), claude_said("Hello."))),
        "grok": (
            GROK_URL,
            as_json(grok_share("c", "Roses")),
            grok_page(grok_bubble("Hello?", asked=True), grok_bubble("Hello.")),
        ),
    }[source]
    for answer in (data, page):
        with share_host() as (host, url):
            settings.setenv(f"{source.upper()}_SHARE_URL", url)
            reset_settings()
            host.body = answer
            job_id = factories.job(Kind.IMPORT, input={"url": link})
            run_job(job_id)
        assert factories.load(job_id).status == "succeeded", factories.load(job_id).error
    rows = factories.all_conversations()
    assert [(row.source, row.url) for row in rows] == [(source, link)] * 2
    for row in rows:
        assert factories.shown(row.id) == ["Hello?", "Hello."]


@pytest.mark.parametrize("source", ["open-webui", "librechat", "deepseek", "gemini"])
def test_the_same_conversation_twice_in_one_file_is_one(source: str, tmp_path: Path) -> None:
    one = exports(tmp_path)[source][0].removeprefix(b"[").removesuffix(b"]")
    assert counts(b"[" + one + b"," + one + b"]") == {"created": 1, "unchanged": 1}


def test_a_message_s_id_in_two_conversations_is_two_messages() -> None:
    said = [claude_message("m", "human", "Hello?")]
    assert counts(claude_zip([claude_conversation("c", messages=said), claude_conversation("d", messages=said)])) == {
        "created": 2
    }
    assert [factories.shown(row.id) for row in factories.all_conversations()] == [["Hello?"], ["Hello?"]]
