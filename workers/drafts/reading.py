"""Reads a draft while a model writes it: in JSON, or as a title in the first line and a description behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from workers.llm.json_strings import JsonStrings, spelled


class DraftReader(Protocol):
    """Given what the model writes, piece by piece, `feed` gives out what can be shown of the description. That comes
    only once the title is complete: an attempt that goes on needs both."""

    title: str | None  # None until it is complete

    def feed(self, text: str) -> Iterator[str]: ...

    def resume(self, title: str, description: str) -> str:
        """What to go on behind, as the model would have written it."""
        ...

    def rest(self) -> str:
        """What was not given out, at the end of the answer: all of one that has no title."""
        ...


class JsonDraft:
    def __init__(self) -> None:
        self.title: str | None = None
        self._strings = JsonStrings()
        self._title, self._early = "", ""

    def feed(self, text: str) -> Iterator[str]:
        for name, piece in self._strings.feed(text):
            if name == "title" and self.title is None:
                self._title += piece
            elif name == "description":
                if self._title and self.title is None:  # written in the order of the schema
                    self.title = self._title
                if self.title is None:
                    self._early += piece
                else:
                    yield piece
        if self._strings.whole and self.title is None:
            self.title = self._title
            if self._early:
                yield self._early
                self._early = ""

    def resume(self, title: str, description: str) -> str:
        document = f'{{"title": "{spelled(title)}", "description": "{spelled(description)}'
        list(self.feed(document))
        self.title = title
        return document

    def rest(self) -> str:
        if self.title is None:
            self.title = self._title
        rest, self._early = self._early, ""
        return rest


class TextDraft:
    def __init__(self) -> None:
        self.title: str | None = None
        self._held = ""
        self._is_begun = False  # something of the description was given out

    def feed(self, text: str) -> Iterator[str]:
        if self.title is None:
            self._held = (self._held + text).lstrip()
            line, newline, text = self._held.partition("\n")
            if not newline:
                return
            self.title, self._held = line.strip(" #*\t\r"), ""
        if not self._is_begun:
            text = text.lstrip()
        if text:
            self._is_begun = True
            yield text

    def resume(self, title: str, description: str) -> str:
        self.title, self._is_begun = title, bool(description)
        return f"{title}\n\n{description}"

    def rest(self) -> str:
        if self.title is None:
            self.title = self._held.strip(" #*\t\r\n")
        return ""
