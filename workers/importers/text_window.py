"""A moving window of decoded text over a binary file."""

from __future__ import annotations

import codecs
from typing import Protocol

CHUNK = 1 << 20  # bytes per read: large beside a usual conversation, small beside memory
LONGEST_STEP = 64 << 20


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Window:
    """`text` from `at` on is what has not been passed yet; `grow` forgets the rest and reads on."""

    def __init__(self, file: Readable) -> None:
        head = file.read(CHUNK)
        self._file = file
        self._decoder = codecs.getincrementaldecoder(_encoding(head))(errors="replace")
        self._bytes_before = 0
        self._bytes_read = len(head)
        self.text = self._decode(head)
        self.at = 0
        self.ended = False

    def grow(self) -> bool:
        """Read on; False when the file has ended. What is left grows threefold, so that a long element is not parsed
        many times, but no step is so long that the window outgrows the element by much.
        """
        if self.ended:
            return False
        self._bytes_before = self.bytes_done
        rest = self.text[self.at :]
        data = self._file.read(max(CHUNK, min(2 * len(rest), LONGEST_STEP)))
        self.ended = not data
        self._bytes_read += len(data)
        self.text = rest + self._decode(data, final=self.ended)
        self.at = 0
        return not self.ended

    def look_ahead(self, length: int) -> None:
        """Have at least so many characters to look at, unless the file ends before."""
        while len(self.text) - self.at < length and self.grow():
            pass

    @property
    def bytes_done(self) -> int:
        """Exact at the ends of the window, interpolated between them."""
        share = self.at / len(self.text) if self.text else 1.0
        return self._bytes_before + int((self._bytes_read - self._bytes_before) * share)

    def _decode(self, data: bytes, final: bool = False) -> str:
        return self._decoder.decode(data, final).replace("\0", "")


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # JSON begins with an ASCII character, so a zero beside it tells UTF-16 without a byte order mark.
    if head[1:2] == b"\0":
        return "utf-16-le"
    if head[:1] == b"\0":
        return "utf-16-be"
    return "utf-8-sig"
