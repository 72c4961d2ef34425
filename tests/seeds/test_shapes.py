"""The measure itself: what does not fit is found."""

from __future__ import annotations

from typing import Any

import pytest

from tests.seeds.shapes import misfits

LIST = [{"role": "user"}, {"role": "assistant", "model": "text"}]


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ({"a": "text"}, {"a": "", "more": 1}),
        ({"a": {"b": "integer"}}, {"a": {"b": 0}}),
        ("number", 1),
        ("number", 0.5),
        ("boolean", False),
        ("text?", None),
        ("online|offline", "offline"),
        ("time", "2026-02-03T12:00:00.000Z"),
        ("list", []),
        ("any", None),
        ("exactly this", "exactly this"),
        (True, True),
        (None, None),
        (LIST, [{"role": "assistant", "model": "m"}, {"role": "user"}, {"role": "user"}]),
    ],
)
def test_fits(shape: Any, value: Any) -> None:
    assert misfits(shape, value) == []


@pytest.mark.parametrize(
    ("shape", "value", "where"),
    [
        ({"a": "text"}, {}, "$.a is missing"),
        ({"a": "text"}, [], "$ is no object"),
        ({"a": {"b": "integer"}}, {"a": {"b": "0"}}, "$.a.b is '0', not integer"),
        ("integer", True, "$ is True, not integer"),
        ("integer", 1.5, "$ is 1.5, not integer"),
        ("text", None, "$ is None, not text"),
        ("online|offline", "away", "$ is 'away', not online|offline"),
        ("time", "2026-02-03T12:00:00", "$ is '2026-02-03T12:00:00', not time"),
        ("time", 7, "$ is 7, not time"),
        (True, 1, "$ is 1, not True"),
        (None, 0, "$ is 0, not None"),
        (LIST, [{"role": "user"}], "$ holds nothing like"),
        (LIST, [{"role": "user"}, {"role": "assistant", "model": "m"}, {"role": "system"}], "$[2].role is 'system'"),
        (LIST, {"role": "user"}, "$ is no list"),
    ],
)
def test_does_not_fit(shape: Any, value: Any, where: str) -> None:
    assert [wrong for wrong in misfits(shape, value) if wrong.startswith(where)]
