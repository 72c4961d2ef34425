"""What an answer must hold: JSON with words for the types in place of values. More fields than these may be there.

text, integer, number, boolean, time (ISO 8601 with its zone), object, list, any; with `?` it may be null. `a|b` is one
of these texts. Any other value is meant as it stands. A list of shapes: every item fits one of them, and every one of
them is met. In place of JSON: `nothing`, `page`, `picture`, `problem`, `elsewhere` (a redirect), and `events` with the
shapes that frames of a stream must meet, the last of them its last frame.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import httpx

from tests.api.helpers import problem

_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "list": (list,),
}


def misfits(shape: Any, value: Any, path: str = "$") -> list[str]:
    """What of the value is not as the shape says, by its path."""
    match shape:
        case dict():
            if not isinstance(value, dict):
                return [f"{path} is no object"]
            missing = [f"{path}.{name} is missing" for name in shape if name not in value]
            there = (name for name in shape if name in value)
            return missing + [wrong for name in there for wrong in misfits(shape[name], value[name], f"{path}.{name}")]
        case [_, *_]:
            return _of_list(shape, value, path)
        case str() if not _is_as(shape, value):
            return [f"{path} is {value!r:.80}, not {shape}"]
        case str():
            return []
    return [] if type(value) is type(shape) and value == shape else [f"{path} is {value!r:.80}, not {shape!r}"]


def _of_list(shapes: list[Any], value: Any, path: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{path} is no list"]
    strange = [number for number, item in enumerate(value) if all(misfits(shape, item) for shape in shapes)]
    wrong = [wrong for number in strange for wrong in misfits(shapes[0], value[number], f"{path}[{number}]")]
    unmet = [shape for shape in shapes if all(misfits(shape, item) for item in value)]
    return wrong + [f"{path} holds nothing like {shape}" for shape in unmet]


def _is_as(word: str, value: Any) -> bool:
    if word.endswith("?"):
        return value is None or _is_as(word[:-1], value)
    if word in _TYPES:
        return isinstance(value, _TYPES[word]) and (word == "boolean" or not isinstance(value, bool))
    if word == "time":
        return _is_time(value)
    return word == "any" or value in word.split("|")


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def check(response: httpx.Response, status: int, answer: str) -> None:
    """Fails where the response is not as the answer's words say."""
    assert response.status_code == status, response.text[:1000]
    kind, _, rest = answer.partition(" ")
    media = response.headers.get("content-type", "").partition(";")[0]
    match kind:
        case "nothing":
            assert response.content == b""
        case "elsewhere":
            assert response.headers["location"]
        case "page":
            assert media == "text/html"
        case "picture":
            assert media.startswith("image/")
        case "problem":
            problem(response, status)
        case "events":
            assert media == "text/event-stream"
            check_events(json.loads(rest), frames(response))
        case _:
            assert misfits(json.loads(answer), response.json()) == []


def check_events(shapes: list[Any], found: list[Any]) -> None:
    for shape in shapes:
        assert any(not misfits(shape, frame) for frame in found), f"no frame like {shape} in {found}"
    assert misfits(shapes[-1], found[-1]) == []


def frames(response: httpx.Response) -> list[Any]:
    lines = response.text.splitlines()
    return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]
