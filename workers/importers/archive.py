"""An upload as named streams of bytes: a plain file is one, a zip is as many as it has entries.

A zip is written by a stranger. Nothing is extracted and no entry is ever whole in memory, so its names cannot reach
the disk; its sizes are believed only as upper bounds, and what is really read is counted.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO

from config.errors import UnreadableImport
from workers.importers.text_window import Readable

MAX_ENTRIES = 20_000  # an export has one per picture; twenty times the largest reported
MAX_DIRECTORY = 8 << 20  # bytes of a zip's list of entries, which zipfile reads at once; 20 000 usual ones take 3 MiB
MAX_UNPACKED = 16 << 30  # bytes read from one upload; the largest reported export holds about 2 GiB
MAX_RATIO = 200  # unpacked to packed; conversations pack 3 to 20 times, a bomb of zeros 1000 times
RATIO_FLOOR = 64 << 20  # bytes up to which the ratio does not matter: one message may repeat a letter
PIECE = 64 << 10  # bytes per read from a zip: what is lost before a damaged place

# What zipfile raises on forged and damaged archives; NotImplementedError is a RuntimeError.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError, OSError)
_ENCRYPTED = 0x1
_READABLE_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # LZMA lets the file choose how much memory to take


@dataclass(frozen=True, slots=True)
class Member:
    """`folder` and `name` are for comparing and for telling a person, never for opening."""

    folder: str
    name: str
    size: int  # bytes unpacked, as the zip says
    info: zipfile.ZipInfo | None = None

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}" if self.folder else self.name

    @property
    def is_encrypted(self) -> bool:
        return self.info is not None and bool(self.info.flag_bits & _ENCRYPTED)


class Upload:
    def __init__(self, file: IO[bytes], filename: str) -> None:
        self._file = file
        self._read = 0
        self.size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.is_zip = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
        self._zip = self._open_zip() if self.is_zip else None
        self.members = self._list() if self._zip else [Member("", filename, self.size)]

    def open(self, member: Member) -> Readable:
        """Its bytes from the beginning. Raises UnreadableImport, also while reading, with a sentence for a person."""
        if self._zip is None or member.info is None:
            self._file.seek(0)
            return self._file
        self._check(member, member.info)
        try:
            return _Stream(self, member, self._zip.open(member.info))
        except _DAMAGE as error:
            raise UnreadableImport(f"“{member.name}” in the zip is damaged and cannot be opened.") from error

    def count(self, size: int) -> None:
        self._read += size
        if self._read > MAX_UNPACKED:
            raise UnreadableImport(f"The zip unpacks to more than {MAX_UNPACKED >> 30} GiB; reading ended there.")

    def _open_zip(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(_ShortReads(self._file))
        except _DAMAGE as error:
            raise UnreadableImport(
                "The zip's list of entries cannot be read: the file is damaged, or was cut short on its way."
            ) from error

    def _list(self) -> list[Member]:
        assert self._zip is not None
        entries = self._zip.infolist()
        if len(entries) > MAX_ENTRIES:
            raise UnreadableImport(f"The zip has {len(entries)} entries; at most {MAX_ENTRIES} are read.")
        if sum(entry.compress_size for entry in entries) > self.size:
            raise UnreadableImport("The zip's entries claim more bytes than the file has: it is damaged or forged.")
        return [member for entry in entries if (member := _member(entry))]

    def _check(self, member: Member, info: zipfile.ZipInfo) -> None:
        if member.is_encrypted:
            raise UnreadableImport(f"“{member.name}” in the zip is encrypted; upload a zip without a password.")
        if info.compress_type not in _READABLE_METHODS:
            raise UnreadableImport(f"“{member.name}” is packed in an unusual way; zip it again in the ordinary way.")
        if info.file_size > max(RATIO_FLOOR, MAX_RATIO * info.compress_size):
            raise UnreadableImport(
                f"“{member.name}” would unpack to more than {MAX_RATIO} times its size, as zip bombs do; not read."
            )


class _Stream:
    """Reads in small pieces, so that all but the last of them survive a damaged place behind them."""

    def __init__(self, upload: Upload, member: Member, source: IO[bytes]) -> None:
        self._upload = upload
        self._member = member
        self._source = source
        self._damage: Exception | None = None

    def read(self, size: int = -1, /) -> bytes:
        pieces: list[bytes] = []
        missing = size if size >= 0 else MAX_UNPACKED
        while missing > 0 and self._damage is None:
            try:
                piece = self._source.read(min(PIECE, missing))
            except _DAMAGE as error:
                self._damage = error
                break
            if not piece:
                break
            self._upload.count(len(piece))
            pieces.append(piece)
            missing -= len(piece)
        if self._damage and not pieces:
            wrong_sum = isinstance(self._damage, zipfile.BadZipFile)  # only known at the end of the entry
            what = "its checksum is wrong, so what was read may be too" if wrong_sum else "what follows was not read"
            raise UnreadableImport(f"“{self._member.name}” in the zip is damaged; {what}.") from self._damage
        return b"".join(pieces)


class _ShortReads(io.RawIOBase):
    """The upload as zipfile sees it. It reads an archive's whole list of entries in one call, however long the
    archive says it is; no single read may be longer than an honest list."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._source = file

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = MAX_DIRECTORY
        if size > MAX_DIRECTORY:
            raise UnreadableImport(f"The zip's list of entries is longer than {MAX_DIRECTORY >> 20} MiB.")
        return self._source.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def seekable(self) -> bool:
        return True


def _member(entry: zipfile.ZipInfo) -> Member | None:
    """None for folders, for what has no name and for what macOS adds to the zips it makes."""
    parts = [part for part in entry.filename.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if not parts or entry.is_dir() or "__MACOSX" in parts or parts[-1].startswith("._"):
        return None
    return Member("/".join(parts[:-1]), parts[-1], entry.file_size, entry)
