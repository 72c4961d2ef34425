"""Zips written by strangers."""

from __future__ import annotations

import io
import random
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import UnreadableImport
from tests.exports import encrypted_zip, forged_zip, zip_of
from workers.importers import archive
from workers.importers.archive import Upload

TEXT = b'[{"a": 1}]'


def upload(data: bytes, name: str = "export.zip") -> Upload:
    return Upload(io.BytesIO(data), name)


def read_all(data: bytes) -> dict[str, bytes]:
    opened = upload(data)
    return {member.path: opened.open(member).read() for member in opened.members}


def with_size(data: bytes, size: int) -> bytes:
    return forged_zip(data, 22, 24, "<I", size)


def test_a_plain_file_is_its_only_member() -> None:
    opened = upload(TEXT, "chats.json")
    [member] = opened.members
    assert (opened.is_zip, member.path, member.size) == (False, "chats.json", len(TEXT))
    assert opened.open(member).read() == TEXT


def test_reads_entries_piece_by_piece() -> None:
    data = random.Random(1).randbytes(300_000)
    opened = upload(zip_of({"a.bin": data}))
    stream = opened.open(opened.members[0])
    assert stream.read(100_000) == data[:100_000]
    assert stream.read(1) == data[100_000:100_001]
    assert stream.read() == data[100_001:]
    assert stream.read(5) == b""


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("../../../etc/conversations.json", "etc/conversations.json"),
        ("/conversations.json", "conversations.json"),
        ("C:\\Users\\me\\conversations.json", "C:/Users/me/conversations.json"),
        ("a//b/./conversations.json", "a/b/conversations.json"),
    ],
)
def test_names_cannot_leave_the_zip(name: str, path: str) -> None:
    assert read_all(zip_of({name: TEXT})) == {path: TEXT}


def test_folders_and_what_macos_adds_are_no_members() -> None:
    files = {"folder/": b"", "__MACOSX/._conversations.json": b"x", "._conversations.json": b"x", "a/x.json": TEXT}
    assert read_all(zip_of(files)) == {"a/x.json": TEXT}


def test_nor_is_what_has_no_name() -> None:
    data = zip_of({"a": b"x", "b.json": TEXT})
    named = data.index(b"PK\x01\x02") + 46
    assert list(read_all(data[:named] + b"\0" + data[named + 1 :])) == ["b.json"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_both_of_two_entries_with_one_name_are_read() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("x.json", b"first")
        made.writestr("x.json", b"second")
    opened = upload(buffer.getvalue())
    assert [opened.open(member).read() for member in opened.members] == [b"first", b"second"]


def test_zip64() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made, made.open("x.json", "w", force_zip64=True) as entry:
        entry.write(TEXT)
    assert read_all(buffer.getvalue()) == {"x.json": TEXT}


def test_a_bomb_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zip_of({"conversations.json": b"[" + b"0" * 500_000})
    assert read_all(bomb)  # small enough to be harmless, as one message of one letter is
    monkeypatch.setattr(archive, "RATIO_FLOOR", 1000)
    with pytest.raises(UnreadableImport, match="zip bombs"):
        read_all(bomb)


def test_what_is_read_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = random.Random(1).randbytes(200_000)
    monkeypatch.setattr(archive, "MAX_UNPACKED", 300_000)
    with pytest.raises(UnreadableImport, match="unpacks to more than"):
        read_all(zip_of({"a": data, "b": data}))


def test_too_many_entries() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for number in range(20_001):
            made.writestr(str(number), b"")
    with pytest.raises(UnreadableImport, match="20001 entries"):
        upload(buffer.getvalue())


def test_a_list_of_entries_too_long_to_be_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zip_of({str(number): b"" for number in range(100)})
    monkeypatch.setattr(archive, "MAX_DIRECTORY", 1000)
    with pytest.raises(UnreadableImport, match="list of entries is longer"):
        upload(data)


def test_a_size_that_lies() -> None:
    data = random.Random(1).randbytes(200_000)
    honest = zip_of({"x": data})
    with pytest.raises(UnreadableImport, match="damaged"):
        stream_into([], with_size(honest, 5000))
    pieces: list[bytes] = []
    stream_into(pieces, with_size(honest, 1 << 24))
    assert b"".join(pieces) == data  # the size is only an upper bound


def stream_into(pieces: list[bytes], data: bytes) -> None:
    opened = upload(data)
    stream = opened.open(opened.members[0])
    pieces.extend(iter(lambda: stream.read(100_000), b""))


def test_entries_that_claim_more_than_the_file_has() -> None:
    with pytest.raises(UnreadableImport, match="damaged or forged"):
        upload(forged_zip(zip_of({"x": TEXT}), 18, 20, "<I", 1 << 30))


def test_encrypted() -> None:
    opened = upload(encrypted_zip({"x.json": TEXT}))
    assert opened.members[0].is_encrypted
    with pytest.raises(UnreadableImport, match="encrypted"):
        opened.open(opened.members[0])


def test_unusual_packing() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as made:
        made.writestr("x.json", TEXT)
    with pytest.raises(UnreadableImport, match="unusual way"):
        read_all(buffer.getvalue())


def test_what_lies_before_the_damage_is_read() -> None:
    data = random.Random(1).randbytes(1_000_000)
    damaged = bytearray(zip_of({"x": data}))
    damaged[500_000:600_000] = b"\xff" * 100_000
    pieces: list[bytes] = []
    with pytest.raises(UnreadableImport, match="damaged; what follows was not read"):
        stream_into(pieces, bytes(damaged))
    read = b"".join(pieces)
    assert len(read) > 400_000
    assert data.startswith(read[:400_000])


def test_a_wrong_checksum_is_found_at_the_end() -> None:
    data = random.Random(1).randbytes(1_000_000)
    damaged = bytearray(zip_of({"x": data}))
    damaged[500_000] ^= 1  # noise does not pack, so this is a byte of the content
    pieces: list[bytes] = []
    with pytest.raises(UnreadableImport, match="checksum is wrong"):
        stream_into(pieces, bytes(damaged))
    assert len(b"".join(pieces)) > 900_000


def test_a_zip_cut_short() -> None:
    with pytest.raises(UnreadableImport, match="cut short"):
        upload(zip_of({"x": TEXT})[:-30])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8), st.integers(0, 60))
def test_any_damage_is_told_in_words_or_harmless(damage: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(zip_of({"conversations.json": TEXT, "b/c.json": TEXT * 50}))
    for at, byte in damage:
        data[at % len(data)] = byte
    try:
        opened = upload(bytes(data[: len(data) - cut]))
    except UnreadableImport:
        return
    for member in opened.members:
        with suppress(UnreadableImport):
            opened.open(member).read(1 << 20)
