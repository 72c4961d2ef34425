"""Cuts a message into pieces that fit an embedder's input, at the best place there is.

The text is taken apart only as far as needed: blocks (paragraphs, fenced code, a heading with what follows it), then
lines, sentences, and at last equal lengths, between words where there are any. What fits is then packed together again
in order.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

TokenCounter = Callable[[Sequence[str]], list[int]]
Span = tuple[int, int]
Cut = Callable[[str, Span, int], Iterator[Span]]  # the last: how many parts are needed, by the count of tokens

# No chunk is longer than this, however few tokens the tokenizer sees in it: WordPiece makes one unknown token of a
# base64 blob of any length. Prose has 4 to 5 characters per token, in some languages 7.
MAX_CHARS_PER_TOKEN = 10
# Equal lengths are not equal tokens: this much more than the count asks for, or half of the parts would not fit.
PARTS_SLACK = 1.1
# Pieces below this part of a chunk are counted together: a message may be a million lines of two characters.
SMALL_PART = 4

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}#{1,6}\s")
_HEADING_ONLY = re.compile(r"#{1,6}[ \t][^\n]*")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
# The lookbehind keeps a long run of dots linear.
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s)|[。！？]++[”’」』）]*+")


@dataclass(frozen=True, slots=True)
class Chunk:
    text: str
    start: int  # characters from the beginning of the message
    end: int


def split(text: str, count_tokens: TokenCounter, max_tokens: int) -> list[Chunk]:
    """Chunks of at most `max_tokens`, in order and without overlap, that together hold all of the text but white space
    between them. `text[start:end]` is the chunk's text. A single character of more tokens than that stays whole."""
    counter = _Counter(text, count_tokens, max_tokens)
    spans = _pack(_take_apart(text, counter), counter)
    return [Chunk(text[start:end], start, end) for start, end in spans]


class _Counter:
    """Counts spans in batches, and knows what fits. Spans over the character limit are not counted but guessed."""

    def __init__(self, text: str, count_tokens: TokenCounter, max_tokens: int) -> None:
        self.text = text
        self.max_tokens = max_tokens
        self.max_chars = max_tokens * MAX_CHARS_PER_TOKEN
        self.small = max_tokens // SMALL_PART
        self._count = count_tokens

    def __call__(self, spans: Sequence[Span]) -> list[int]:
        short = [self.text[start:end] for start, end in spans if end - start <= self.max_chars]
        counts = iter(self._count(short) if short else ())
        return [
            next(counts) if end - start <= self.max_chars else (end - start) // MAX_CHARS_PER_TOKEN + 1
            for start, end in spans
        ]


def _take_apart(text: str, counter: _Counter) -> list[tuple[Span, int]]:
    """Spans that fit, with their counts, in order."""
    done: list[tuple[Span, int]] = []
    large = [((0, len(text)), 1)]
    cuts = itertools.chain((_whole, _blocks, _lines, _sentences), itertools.repeat(_lengths))
    for cut in cuts:
        small = 0 if cut is _lengths else counter.small  # joined again they would be too large again, for ever
        pieces = [piece for span, parts in large for piece in _pieces(text, cut(text, span, parts), small)]
        large = []
        for piece, count in zip(pieces, counter(pieces), strict=True):
            if count <= counter.max_tokens or piece[1] - piece[0] == 1:
                done.append((piece, count))
            else:
                large.append((piece, max(2, math.ceil(count / counter.max_tokens * PARTS_SLACK))))
        if not large:
            break
    return sorted(done)


def _pieces(text: str, spans: Iterable[Span], small: int) -> Iterator[Span]:
    """The spans without white space around them, neighbours joined up to `small` characters."""
    begin = end = -1
    for piece in spans:
        piece_begin, piece_end = _trim(text, piece)
        if piece_begin == piece_end:
            continue
        if begin >= 0 and piece_end - begin > small:
            yield begin, end
            begin = -1
        begin = piece_begin if begin < 0 else begin
        end = piece_end
    if begin >= 0:
        yield begin, end


def _trim(text: str, span: Span) -> Span:
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _whole(_text: str, span: Span, _parts: int) -> Iterator[Span]:
    yield span


def _blocks(text: str, span: Span, _parts: int) -> Iterator[Span]:
    """Paragraphs, and fenced code whole. A heading stays with the block after it."""
    begin = span[0]
    fence = ""
    holds = False  # the block has more than a heading
    for line in _LINE.finditer(text, *span):
        marker = _FENCE.match(line.group())
        if fence:
            if marker and marker.group(1).startswith(fence) and line.group().strip() == marker.group(1):
                yield begin, line.end()
                begin, fence, holds = line.end(), "", False
        elif marker:
            if holds:
                yield begin, line.start()
                begin = line.start()
            fence = marker.group(1)
        elif line.group().isspace():
            if holds:
                yield begin, line.end()
                begin, holds = line.end(), False
        elif not _HEADING.match(line.group()):
            holds = True
    yield begin, span[1]


def _lines(text: str, span: Span, _parts: int) -> Iterator[Span]:
    return (line.span() for line in _LINE.finditer(text, *span))


def _sentences(text: str, span: Span, _parts: int = 0) -> Iterator[Span]:
    begin = span[0]
    for end in _SENTENCE_END.finditer(text, *span):
        yield begin, end.end()
        begin = end.end()
    yield begin, span[1]


def _lengths(text: str, span: Span, parts: int) -> Iterator[Span]:
    """About equal parts, each ending at white space if there is any in its second half."""
    begin, end = span
    length = max(1, -(-(end - begin) // parts))
    while end - begin > length:
        limit = begin + length
        space = max(text.rfind(blank, begin + length // 2, limit) for blank in " \n\t")
        cut = space if space > begin else limit
        yield begin, cut
        begin = cut
    yield begin, end


def sentences(text: str) -> Iterator[Span]:
    """The sentences of `text`, as (start, end)."""
    return _pieces(text, _sentences(text, (0, len(text))), small=0)


def _pack(atoms: Sequence[tuple[Span, int]], counter: _Counter) -> list[Span]:
    """Neighbours together while their counts add up to no more than the limit. Counts need not add up exactly (a
    tokenizer sees the space between them), so what is packed is counted again and halved where it is too much."""
    groups = _groups(atoms, counter)
    packed: list[Span] = []
    while groups:
        whole = [(group[0][0], group[-1][1]) for group in groups]
        halved = []
        for group, span, count in zip(groups, whole, counter(whole), strict=True):
            if count <= counter.max_tokens or len(group) == 1:
                packed.append(span)
            else:
                middle = len(group) // 2
                halved += [group[:middle], group[middle:]]
        groups = halved
    return sorted(packed)


def _groups(atoms: Sequence[tuple[Span, int]], counter: _Counter) -> list[list[Span]]:
    groups: list[list[Span]] = []
    total = heading = 0  # tokens of the last group, and of the heading at its end
    for span, count in atoms:
        if groups and total + count <= counter.max_tokens and span[1] - groups[-1][0][0] <= counter.max_chars:
            groups[-1].append(span)
            total += count
        elif heading and len(groups[-1]) > 1 and heading + count <= counter.max_tokens:
            groups.append([groups[-1].pop(), span])  # a heading goes with what follows it
            total = heading + count
        else:
            groups.append([span])
            total = count
        heading = count if _HEADING_ONLY.fullmatch(counter.text, *span) else 0
    return groups
