"""Gemini's activity log out of Google Takeout."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tests.exports import zip_of
from tests.exports.gemini import gemini_cell, gemini_page, gemini_record, of_thread
from tests.exports.local import as_json
from tests.workers.importers.reading import assert_resumes, check, found_in, only, path, read, reasons, shown
from workers.importers.gemini import GeminiImporter
from workers.importers.gemini_dates import looks_like_date, when

SOURCE = "gemini"
FOLDER = "Takeout/My Activity/Gemini Apps"
DATE = "Jul 1, 2025, 10:05:00\u202fAM UTC"


def test_records_are_conversations() -> None:
    records = [
        gemini_record("Prompted Second?", minute=2),
        gemini_record("Prompted First?", "<p>I am <b>it</b>.</p>", 1),
    ]
    data = as_json(records)
    second, first = found_in(read(data, SOURCE))
    assert shown(first) == [("user", "First?"), ("assistant", "I am **it**.")]
    assert (first.title, str(first.created_at)) == ("First?", "2025-07-01 10:01:00.123000+00:00")
    assert check(second).native_id != check(first).native_id
    assert_resumes(data, SOURCE)
    grown = as_json([gemini_record("Prompted Third?", minute=3), *records])
    assert found_in(read(grown, SOURCE))[1:] == [second, first]


def test_records_of_a_thread_are_put_together_again() -> None:
    records = [
        gemini_record("Prompted C", minute=3, **of_thread("abcdef1")),
        gemini_record("Prompted X", minute=2),
        gemini_record("Prompted B", minute=2, titleUrl="https://gemini.google.com/u/1/app/abcdef1?hl=en"),
        gemini_record("Prompted A", minute=1, **of_thread("abcdef1")),
        gemini_record("Prompted Y", minute=0, **of_thread("abcdef2")),
    ]
    data = as_json(records)
    alone, thread, other = found_in(read(data, SOURCE))
    assert [m.content for m in path(thread) if m.role == "user"] == ["A", "B", "C"]
    assert (thread.native_id, thread.url) == ("abcdef1", "https://gemini.google.com/app/abcdef1")
    assert (alone.title, other.native_id) == ("X", "abcdef2")
    assert_resumes(data, SOURCE)


@pytest.mark.parametrize(
    ("titles", "expected"),
    [
        (["送信したメッセージ: " + text for text in "abcdef"], list("abcdef")),
        (["Pokyn " + text for text in "abcdef"], list("abcdef")),
        (["Prompted Hey " + text for text in "abcdef"], ["Hey " + text for text in "abcdef"]),
        (["Only one"], ["Only one"]),
        (["a b", "c d", "e f", "g h", "i j", "k l"], ["a b", "c d", "e f", "g h", "i j", "k l"]),
    ],
)
def test_the_words_before_a_prompt_are_left_out_in_any_language(titles: list[str], expected: list[str]) -> None:
    header = {"header": "Gemini アプリ", "products": ["Gemini アプリ"]}
    data = as_json([gemini_record(title, minute=n) | header for n, title in enumerate(titles)])
    assert [found.title for found in found_in(read(data, SOURCE))] == expected


def test_what_gemini_made_is_kept_too() -> None:
    made = only(
        as_json([gemini_record("Created Gemini Canvas titled Poem", None, subtitles=[{"name": "A poem."}])]), SOURCE
    )
    assert shown(made) == [("assistant", "Created Gemini Canvas titled Poem\n\nA poem.")]
    assert made.title == "Created Gemini Canvas titled Poem"


@pytest.mark.parametrize("title", ["Used Gemini Apps", "Used Bard", "Gave feedback: Bad response (too long)"])
def test_what_nobody_said_is_no_message(title: str) -> None:
    noted = only(as_json([gemini_record(title, None)]), SOURCE)
    assert (noted.title, noted.messages, noted.notes) == (title, [], ["the conversation holds no messages"])
    answered = only(as_json([gemini_record(title, "<p>Yes.</p>")]), SOURCE)
    assert shown(answered) == [("user", title), ("assistant", "Yes.")]


def test_a_prompt_and_its_answer_may_stand_in_the_details() -> None:
    details = [{"name": "Request", "value": "1 < 2?"}, {"name": "Response", "value": "1 < 2."}]
    found = only(as_json([gemini_record("Used Gemini Apps", None, details=details)]), SOURCE)
    assert shown(found) == [("user", "1 < 2?"), ("assistant", "1 < 2.")]


def test_a_form_nobody_has_described_is_told() -> None:
    odd = gemini_record("Used Gemini Apps", None, userInteractions=[{"userInteraction": {"request": "[]"}}])
    items = read(as_json([odd, gemini_record("Prompted A")]), SOURCE)
    assert reasons(items) == ["a record of the activity log is of a form that is not known"]
    assert len(found_in(items)) == 1


def test_files_that_were_attached() -> None:
    record = gemini_record(
        "Prompted Look Attached 1 file.",
        attachedFiles=["a.pdf", {"name": "b.txt"}],
        imageFile="c.png",
        subtitles=[{"name": "Attached 1 file."}, {"name": "-  d.png", "url": "d.png"}],
    )
    message = path(only(as_json([record]), SOURCE))[0]
    assert message.content == "Look"
    assert [file["name"] for file in message.parts["attachments"]] == ["d.png", "a.pdf", "b.txt", "c.png"]


def test_pages_an_answer_cites_are_no_files() -> None:
    cited = [{"name": "A page", "url": "https://a.example/x"}, {"name": "-  d.png", "url": "d.png"}]
    asked, answer = path(only(as_json([gemini_record("Prompted A", "<p>B</p>", subtitles=cited)]), SOURCE))
    assert asked.parts["attachments"] == [{"name": "d.png"}]
    assert answer.content == "B\n\nSources:\n- [A page](https://a.example/x)"
    assert answer.parts["citations"] == [{"title": "A page", "url": "https://a.example/x"}]


def test_other_activity_is_passed_over() -> None:
    youtube = {"header": "YouTube", "title": "Watched x", "time": "2025-01-01T00:00:00Z", "products": ["YouTube"]}
    assert not GeminiImporter().recognise(io.BytesIO(as_json([youtube])), "My Activity.json")
    assert len(read(as_json([youtube, gemini_record("Prompted A"), youtube]), SOURCE)) == 1


@pytest.mark.parametrize(
    "path_in_zip",
    [f"{FOLDER}/MyActivity.json", f"{FOLDER}/My Activity.json", "Takeout/マイ アクティビティ/Gemini アプリ/x.json"],
)
def test_takeout_s_zip(path_in_zip: str) -> None:
    files = {f"Takeout/Maps/{n}.json": json.dumps({"features": [n]}).encode() for n in range(60)}
    data = zip_of(
        files | {"Takeout/archive_browser.html": b"<html>x</html>", path_in_zip: as_json([gemini_record("Prompted A")])}
    )
    assert len(found_in(read(data, SOURCE))) == 1
    page = gemini_page(gemini_cell("Prompted&nbsp;A", "<p>B</p>", DATE))
    assert len(found_in(read(zip_of(files | {f"{FOLDER}/MyActivity.html": page}), SOURCE))) == 1


# --- the page


def test_the_page() -> None:
    data = gemini_page(
        gemini_cell("Prompted&nbsp;Second<br>line &amp; <b>more", "<p>Fine.</p><div><pre>x</pre></div>", DATE),
        gemini_cell("Watched a film", "", DATE, header="YouTube"),
        gemini_cell(
            "Prompted&nbsp;First",
            "<ul><li>one</li></ul>",
            "1 Jul 2025, 09:00:00 CEST",
            files='Attached 1 file.<br>-&nbsp;<a href="a.png">a.png</a><br>',
        ),
        gemini_cell("Prompted&nbsp;Plain", "No paragraph", DATE),
    )
    second, first, plain = found_in(read(data, SOURCE))
    assert shown(second) == [("user", "Second\nline & more"), ("assistant", "Fine.\n\n```\nx\n```")]
    assert str(second.created_at) == "2025-07-01 10:05:00+00:00"
    assert shown(first) == [("user", "First"), ("assistant", "- one")]
    assert path(first)[0].parts["attachments"] == [{"name": "a.png"}]
    assert str(first.created_at) == "2025-07-01 07:00:00+00:00"
    assert shown(plain) == [("user", "Plain"), ("assistant", "No paragraph")]
    assert_resumes(data, SOURCE)


def test_threads_of_a_page() -> None:
    caption = '<a href="https://gemini.google.com/app/abcdef1">link</a>'
    data = gemini_page(
        gemini_cell("Prompted B", "<p>b</p>", "Jul 1, 2025, 10:06:00 AM UTC", caption=caption),
        gemini_cell("Prompted A", "<p>a</p>", DATE, caption=caption),
    )
    found = only(data, SOURCE)
    assert (found.native_id, [m.content for m in path(found)]) == ("abcdef1", ["A", "a", "B", "b"])


def test_a_page_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    data = gemini_page(*[gemini_cell(f"Prompted {n}", f"<p>{'x' * 3000}</p>", DATE) for n in range(20)])
    expected = read(data, SOURCE)
    monkeypatch.setattr("workers.importers.text_window.CHUNK", 4096)
    assert [item.found for item in GeminiImporter().read(io.BytesIO(data))] == [item.found for item in expected]


def test_a_truncated_page_and_no_page_of_ours() -> None:
    page = gemini_page(gemini_cell("Prompted A", "<p>a</p>", DATE), gemini_cell("Prompted B", "<p>b</p>", DATE))
    items = read(page[:-120], SOURCE)
    assert [found.title for found in found_in(items)] == ["A", "B"]
    assert not GeminiImporter().recognise(io.BytesIO(b"<html>" + b"x" * 3_000_000), "My Activity.html")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Jan 2, 2025, 3:04:05\u202fPM UTC", "2025-01-02 15:04:05"),
        ("Jan 2, 2025, 12:04:05 AM EST", "2025-01-02 05:04:05"),
        ("2 Jan 2025, 15:04:05 GMT+02:00", "2025-01-02 13:04:05"),
        ("2. Mai 2025, 15:04:05 MESZ", "2025-05-02 13:04:05"),
        ("2 août 2025, 15:04:05 CEST", "2025-08-02 13:04:05"),
        ("2025/01/02 15:04:05 JST", "2025-01-02 06:04:05"),
        ("2025年1月2日 15:04:05 JST", "2025-01-02 06:04:05"),
        ("2025. 1. 2. 오후 3:04:05 KST", "2025-01-02 06:04:05"),
        ("02.01.2025, 15:04:05 MEZ", "2025-01-02 14:04:05"),
        ("1/22/2025, 3:04:05 p.m. PST", "2025-01-22 23:04:05"),
        ("Foo 99, 2025, 15:04:05 UTC", None),
        ("Jan 42, 2025, 15:04:05 UTC", None),
    ],
)
def test_dates_as_pages_print_them(line: str, expected: str | None) -> None:
    assert looks_like_date(line)
    found, unknown = when(line)
    assert (str(found)[:19] if found else None) == expected
    assert unknown is None


def test_a_zone_nobody_knows_is_told() -> None:
    found = only(gemini_page(gemini_cell("Prompted A", "<p>a</p>", "Jul 1, 2025, 10:05:00 AM XYZT")), SOURCE)
    assert found.notes == ["the time zone “XYZT” is not known; its times were taken as UTC"]


@pytest.mark.parametrize("record", [None, 7, [], {"header": "Gemini Apps"}, {"header": "Gemini Apps", "title": None}])
def test_what_is_no_record_is_told(record: Any) -> None:
    items = read(as_json([gemini_record("Prompted A"), record]), SOURCE)
    assert (len(found_in(items)), len(reasons(items))) == (1, 1)
