"""Event streams as they come over the line: whole events, however they are cut."""

from __future__ import annotations

import pytest

from cli.sse import sse_data

WIRE = ': hello\n\nid: 1\ndata: {"a": "\u2028\x85"}\n\nretry: 1000\n\ndata: x\ndata:y\r\n\r\ndata: cut'.encode()
DATA = [None, '{"a": "\u2028\x85"}'.encode(), b"x\ny"]


def test_wire_form_at_once() -> None:
    assert list(sse_data([WIRE])) == DATA


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_wire_form_in_pieces(size: int) -> None:
    pieces = [WIRE[at : at + size] for at in range(0, len(WIRE), size)]
    assert list(sse_data(pieces)) == DATA
