"""From token bytes to text that may be shown: whole characters, nothing of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from workers.ports import Delta


class AnswerText:
    """Takes tokens as they are drawn and gives them out as deltas.

    Text is held back while it may be the beginning of a stop string or ends inside a character. Tokens are given out
    whole: a delta's ids spell exactly its text, except in the last delta before a stop string, whose last token may
    spell more. Bytes that are no UTF-8 become U+FFFD.
    """

    def __init__(self, stop: Sequence[str], already: str = "") -> None:
        """`already` was shown before: it takes part in finding a stop string, and is not given out again."""
        self._stop = tuple(text for text in stop if text)
        self._longest_stop = max(map(len, self._stop), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tail = self._last(already)  # shown text in which a stop string may have begun
        self._text = ""
        self._tokens: list[tuple[int, int]] = []  # (id, where its text ends in _text) of what is held back
        self._whole = 0  # how many of _tokens end between characters
        self.stopped = any(text in already for text in self._stop)

    def feed(self, token: int, piece: bytes) -> Delta | None:
        self._text += self._decoder.decode(piece)
        self._tokens.append((token, len(self._text)))
        if not self._decoder.getstate()[0]:
            self._whole = len(self._tokens)
        found = self._find_stop()
        if found is not None:
            self.stopped = True
            return self._cut(found)
        free = len(self._text) - self._held()
        count = self._whole
        while count and self._tokens[count - 1][1] > free:
            count -= 1
        return self._give(count)

    def finish(self) -> Delta | None:
        """What was held back, at the end of the answer. A broken last character becomes U+FFFD."""
        if self.stopped:
            return None
        self._text += self._decoder.decode(b"", final=True)
        return Delta(self._text, tuple(token for token, _ in self._tokens)) if self._text else None

    def whole(self) -> Delta | None:
        """What was held back as far as it is whole characters, where the answer may go on later."""
        return self._give(self._whole)

    @property
    def held(self) -> int:
        """Tokens drawn and not given out."""
        return len(self._tokens)

    def _last(self, text: str) -> str:
        return text[-(self._longest_stop - 1) :] if self._longest_stop > 1 else ""

    def _find_stop(self) -> int | None:
        """Where in `_text` the stop string begins that is complete first (negative: in text already shown)."""
        window = self._tail + self._text
        found = [(place + len(stop), place) for stop in self._stop if (place := window.find(stop)) >= 0]
        return min(found)[1] - len(self._tail) if found else None

    def _held(self) -> int:
        """Length of the longest end of the text that a stop string begins with."""
        window = self._tail + self._text
        for length in range(min(self._longest_stop - 1, len(window)), 0, -1):
            if any(len(stop) > length and stop.startswith(window[-length:]) for stop in self._stop):
                return length
        return 0

    def _give(self, count: int) -> Delta | None:
        end = self._tokens[count - 1][1] if count else 0
        if not end:
            return None
        delta = Delta(self._text[:end], tuple(token for token, _ in self._tokens[:count]))
        self._tail = self._last(self._tail + delta.text)
        self._text = self._text[end:]
        self._tokens = [(token, place - end) for token, place in self._tokens[count:]]
        self._whole -= count
        return delta

    def _cut(self, end: int) -> Delta | None:
        starts = [0, *(place for _, place in self._tokens)]
        ids = tuple(token for (token, _), start in zip(self._tokens, starts, strict=False) if start < end)
        return Delta(self._text[:end], ids) if end > 0 else None


def kept_tokens(pieces: Sequence[bytes], text: str) -> tuple[int, int]:
    """How many of the leading tokens spell a beginning of `text`, and the length of that beginning. Less than all of
    both where a worker died between two writes or the text was edited."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    spelled = 0
    kept = (0, 0)
    for count, piece in enumerate(pieces, start=1):
        new = decoder.decode(piece)
        if not text.startswith(new, spelled):
            break
        spelled += len(new)
        if not decoder.getstate()[0]:
            kept = (count, spelled)
    return kept
