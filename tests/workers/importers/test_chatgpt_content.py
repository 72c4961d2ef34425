from __future__ import annotations

from typing import Any

import pytest

from workers.importers.chatgpt_content import render


@pytest.mark.parametrize(
    ("content", "text", "visibility"),
    [
        ({"content_type": "text", "parts": ["one", "two"]}, "one\n\ntwo", None),
        ({"content_type": "text", "parts": ["one", None, 3, "", "two"]}, "one\n\ntwo", None),
        ({"content_type": "text", "parts": "bare"}, "bare", None),
        ({"content_type": "text", "text": "no parts"}, "no parts", None),
        ("just a string", "just a string", None),
        ({"content_type": "code", "language": "python", "text": "x = 1"}, "```python\nx = 1\n```", None),
        ({"content_type": "code", "language": "unknown", "text": "{}"}, "```\n{}\n```", None),
        ({"content_type": "execution_output", "text": "42"}, "```\n42\n```", "tool"),
        (
            {"content_type": "tether_quote", "title": "T", "url": "https://example.org", "text": "a\nb"},
            "> a\n> b\n> — [T](https://example.org)",
            None,
        ),
        ({"content_type": "tether_quote", "title": "T", "url": "javascript:x", "text": "a"}, "> a\n> — T", None),
        ({"content_type": "tether_browsing_display", "result": "", "summary": "found"}, "found", "tool"),
        (
            {"content_type": "sonic_webpage", "url": "https://example.org", "title": "T", "text": "page"},
            "[T](https://example.org)\n\npage",
            "tool",
        ),
        ({"content_type": "system_error", "name": "Timeout", "text": "too slow"}, "too slow", "tool"),
        ({"content_type": "computer_output", "screenshot": {}}, "", "tool"),
        ({"content_type": "citable_code_output", "output_str": "1"}, "```\n1\n```", "tool"),
        ({"content_type": "tether_browsing_code", "text": "click(3)"}, "```\nclick(3)\n```", "tool"),
        (
            {"content_type": "thoughts", "thoughts": [{"summary": "Think", "content": "hm"}, {"content": "so"}, None]},
            "**Think**\n\nhm\n\nso",
            "reasoning",
        ),
        ({"content_type": "thoughts", "thoughts": None}, "", "reasoning"),
        ({"content_type": "reasoning_recap", "content": "Thought for 5s"}, "Thought for 5s", "reasoning"),
        (
            {"content_type": "user_editable_context", "user_profile": "A cook", "user_instructions": "Be brief"},
            "A cook\n\nBe brief",
            "hidden",
        ),
        ({"content_type": "model_editable_context", "model_set_context": "Likes tea"}, "Likes tea", "hidden"),
    ],
)
def test_content_types(content: Any, text: str, visibility: str | None) -> None:
    rendered = render(content, {})
    assert (rendered.text, rendered.visibility, rendered.unknown) == (text, visibility, None)


@pytest.mark.parametrize(
    "content", [None, 7, [], {}, {"parts": None}, {"parts": [None]}, {"parts": [""]}, {"parts": [[]]}]
)
def test_nothing_in_it(content: Any) -> None:
    assert render(content, {}).text == ""


@pytest.mark.parametrize(
    ("holds", "text"),
    [
        ({"text": "a"}, "a"),
        ({"parts": ["a", "b"]}, "a\n\nb"),
        ({"result": "a"}, "a"),
        ({"content": "a"}, "a"),
        ({}, ""),
    ],
)
def test_an_unknown_type_keeps_its_text(holds: dict[str, Any], text: str) -> None:
    rendered = render({"content_type": "hologram"} | holds, {})
    assert (rendered.text, rendered.unknown) == (text, "hologram")


def test_an_unknown_part_keeps_its_text() -> None:
    parts = ["see", {"content_type": "smell", "text": "roses"}]
    rendered = render({"content_type": "multimodal_text", "parts": parts}, {})
    assert (rendered.text, rendered.unknown) == ("see\n\nroses", "smell")


def test_pictures_join_the_attachments_they_belong_to() -> None:
    pointer = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-1", "width": 4, "height": 3}
    metadata = {"attachments": [{"id": "file-1", "name": "cat.png", "mimeType": "image/png", "size": 9, "x": []}, None]}
    rendered = render({"content_type": "multimodal_text", "parts": [pointer, "What is it?"]}, metadata)
    assert rendered.text == "[image: cat.png]\n\nWhat is it?"
    assert rendered.attachments == [
        {
            "id": "file-1",
            "name": "cat.png",
            "mime_type": "image/png",
            "size": 9,
            "kind": "image",
            "width": 4,
            "height": 3,
        }
    ]


def test_generated_pictures_show_their_prompt() -> None:
    pointer = {
        "content_type": "image_asset_pointer",
        "asset_pointer": "sediment://file_2",
        "size_bytes": float("inf"),
        "metadata": {"dalle": {"prompt": "a cat\nin space"}},
    }
    rendered = render({"content_type": "multimodal_text", "parts": [pointer]}, {})
    assert rendered.text == "[image: a cat in space]"
    assert rendered.attachments == [{"id": "file_2", "kind": "image", "prompt": "a cat\nin space"}]


def test_generated_pictures_without_a_prompt_show_their_title() -> None:
    content = {"content_type": "multimodal_text", "parts": [{"content_type": "image_asset_pointer"}]}
    assert render(content, {"image_gen_title": "A cat"}).text == "[image: A cat]"


def test_spoken_messages() -> None:
    audio = {"content_type": "audio_asset_pointer", "asset_pointer": "sediment://a1", "size_bytes": 5}
    spoken = {"content_type": "audio_transcription", "text": "Hello", "direction": "in"}
    live = {"content_type": "real_time_user_audio_video_asset_pointer", "audio_asset_pointer": audio}
    assert render({"content_type": "multimodal_text", "parts": [spoken, audio]}, {}).text == "Hello"
    silent = render({"content_type": "multimodal_text", "parts": [live]}, {})
    assert silent.text == "[audio]"
    assert silent.attachments == [{"id": "a1", "kind": "audio", "size": 5}]


def test_hostile_text_is_kept_as_it_is() -> None:
    text = "<script>alert(1)</script> ![x](https://evil.example/b.png) '; DROP TABLE users; -- \x1b[31m"
    assert render({"content_type": "text", "parts": [text]}, {}).text == text
