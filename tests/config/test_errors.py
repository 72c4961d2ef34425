"""Error words: the tree at the top of the file is the tree below it."""

from __future__ import annotations

import re

from config import errors
from config.errors import BackchannelError


def tree(of: type[BackchannelError]) -> list[type[BackchannelError]]:
    return [
        one for child in of.__subclasses__() if child.__module__ == errors.__name__ for one in (child, *tree(child))
    ]


def test_the_drawn_tree_is_the_tree() -> None:
    drawn = re.findall(r"[├└]── (\w+)(?: +(\d{3}))?", errors.__doc__ or "")
    made = [(one.__name__, str(one.status)) for one in tree(BackchannelError)]
    assert [name for name, _ in drawn] == [name for name, _ in made]
    assert all(status in ("", dict(made)[name]) for name, status in drawn)


def test_codes_are_distinct_and_spoken_in_snake_case() -> None:
    codes = [one.code for one in tree(BackchannelError)]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


def test_what_may_be_tried_again_is_what_may_pass() -> None:
    assert {one.status for one in tree(BackchannelError) if one.retryable} == {429, 503}


def test_an_error_as_a_job_keeps_it() -> None:
    error = errors.Unusable("No.", headers={"a": "b"}, errors=[{"field": "x", "message": "y"}])
    assert error.as_json() == {"code": "unprocessable", "message": "No.", "retryable": False}
    assert str(error) == "No."


def test_a_code_alone_tells_the_status() -> None:
    for one in (BackchannelError, *tree(BackchannelError)):
        assert errors.status_of(one.code) == one.status
    assert errors.status_of("unheard_of") is None
