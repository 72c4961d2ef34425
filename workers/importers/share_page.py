"""What the readers of saved share pages have in common: the data a page carries or, without any, what it shows."""

from __future__ import annotations

import io
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, Any

from workers.importers import values, web_page
from workers.importers.page_messages import Attributes, Kind, Shown, messages
from workers.importers.ports import ImportedConversation, ImportFailure, ImportItem
from workers.importers.turns import PREVIOUS, Head, Notes, Turn, conversation
from workers.shares import is_challenge

NO_CONVERSATION = (
    "the page holds no conversation that can be read: the link may have been deleted, the page saved before it was "
    "complete, or the site may have changed its pages; the data export holds the conversation too"
)
RENDERED = "read from what the page showed: it tells no times, and what was not on the screen may be missing"


class SharePageImporter(ABC):
    """One site. `address`: of its pages, with the id of what is shared as its group; `marks`: of which one stands in a
    page that holds a conversation; `sites`: of which one stands there too, where the page does not tell its address;
    `ending`: of its titles."""

    source: str
    sites: tuple[str, ...]
    address: re.Pattern[str]
    marks: tuple[str, ...]
    ending: re.Pattern[str]

    @abstractmethod
    def tell(self, known: Attributes, around: Sequence[Attributes]) -> Kind | None: ...

    @abstractmethod
    def carried(self, page: str, shared: str | None) -> ImportedConversation | ImportFailure | None:
        """What the data of the page holds, if it has any; `shared` is the id in its address."""

    def recognise(self, file: IO[bytes], filename: str) -> bool:
        page = web_page.page_text(file)
        if page is None:
            return False
        said = web_page.address(page)
        is_marked = any(mark in page for mark in self.marks)
        if said is None:
            return is_marked and any(site in page for site in self.sites)
        return self.address.match(said) is not None and (is_marked or not is_challenge(page[:300_000].encode()))

    def read(self, file: IO[bytes], start: int = 0) -> Iterator[ImportItem]:
        page = web_page.page_text(file)
        size = file.seek(0, io.SEEK_END)
        if start == 0:
            yield ImportItem(0, self.shared(page or ""), size, size)

    def shared(self, page: str) -> ImportedConversation | ImportFailure:
        said = self.address.match(web_page.address(page) or "")
        found = self.carried(page, said.group(1) if said else None)
        if not isinstance(found, ImportedConversation) or not found.messages:
            shown = self._shown(page, said)
            return found if isinstance(shown, ImportFailure) and isinstance(found, ImportFailure) else shown
        found.url = said.group() if said and said.group(1) else found.url
        return found

    def _shown(self, page: str, said: re.Match[str] | None) -> ImportedConversation | ImportFailure:
        title = web_page.title(page, self.ending)
        turns = _turns(messages(page, self.tell))
        if not turns:
            return ImportFailure(NO_CONVERSATION, title=values.title(title) if title else None)
        notes: Notes = Counter([RENDERED])
        identifier = said.group(1) if said else None
        head = Head(identifier, title, url=said.group() if said and identifier else None)
        return conversation(self.source, head, turns, notes)


def _turns(found: Iterator[Shown]) -> list[Turn]:
    """The names of files stand before or behind the message that they came with."""
    turns: list[Turn] = []
    files: list[Any] = []
    for shown in found:
        if shown.kind == "file":
            files.append(values.one_line(shown.text))
            continue
        turn = Turn(shown.id, PREVIOUS, "user" if shown.kind == "user" else "assistant")
        turn.say(shown.text)
        turns.append(turn)
        if turn.role == "user":
            _attach(turn, files)
    asked = [turn for turn in turns if turn.role == "user"]
    if asked:
        _attach(asked[-1], files)
    return [turn for turn in turns if turn.shown or turn.attachments]


def _attach(turn: Turn, names: list[Any]) -> None:
    for name in dict.fromkeys(names):
        turn.attach(name=name[:500])
    names.clear()
