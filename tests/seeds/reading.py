"""The seeds' requests, as the text files beside this one hold them: our own notes of what the documents show.

A file begins with the endpoints that its document lists. Behind the first `---` line stands one block per request, with
an empty line between them: marks, if there are any; the request, as a curl line of the document or as method, address
and body (JSON, or `file=@…`); the status and the answer, in the words of shapes.py. `{name}` in any of them is filled
in by given.py. The marks:

@public      answered without signing in, too
@admin       for admins only
@own         ends the session it is sent in
@required    only where AUTH_MODE=required
@claude      Claude is asked; `@claude:NAME` calls the tool NAME while it answers
@other       anything else is what must be there before: a word of given.py
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

SEEDS = ("000", "002", "003", "004")
_MARKS = ("public", "admin", "own", "required", "claude")
_STATUS = re.compile(r"^([1-5]\d\d) ", re.MULTILINE)
_ADDRESS = re.compile(r"https?://localhost:\d+")


@dataclass(frozen=True)
class Request:
    """`body` is JSON or empty, `file` the name of what is uploaded or empty."""

    seed: str
    method: str
    path: str
    body: str
    file: str
    status: int
    answer: str
    marks: frozenset[str]

    @property
    def needs(self) -> list[str]:
        return [mark for mark in self.marks if mark not in _MARKS and ":" not in mark]

    @property
    def tool(self) -> str | None:
        """What Claude calls, which may be nothing; None where it is not asked."""
        return next((mark.partition(":")[2] for mark in self.marks if mark.startswith("claude")), None)

    @property
    def names(self) -> set[str]:
        """What its address speaks of."""
        return set(re.findall(r"{(\w+)}", self.path))

    @property
    def endpoint(self) -> str:
        return endpoint(self.method, self.path)

    def __str__(self) -> str:
        return f"{self.seed} {self.method} {self.path}"


def endpoint(method: str, path: str) -> str:
    """As two spellings of the same have it: without a query, without the names of what varies."""
    return f"{method} {re.sub(r'[{<][^}>]*[}>]', '*', path.partition('?')[0]).rstrip('/') or '/'}"


def requests(seed: str) -> list[Request]:
    _, _, blocks = _text(seed).partition("\n---")
    lines = [line for line in blocks.splitlines()[1:] if not line.startswith("---")]
    return [_request(seed, block) for block in re.split(r"\n\s*\n", "\n".join(lines).strip())]


def listed(seed: str) -> list[str]:
    """The endpoints of the document's own lists."""
    lines = _text(seed).partition("\n---")[0].splitlines()
    return [endpoint(*line.split()) for line in lines if line and not line.startswith("#")]


def _text(seed: str) -> str:
    return (Path(__file__).parent / f"{seed}.txt").read_text()


def _request(seed: str, block: str) -> Request:
    marks = [mark for line in block.splitlines() if line.startswith("@") for mark in line.replace("@", "").split()]
    text = "\n".join(line for line in block.splitlines() if not line.startswith("@"))
    found = _STATUS.search(text)
    assert found is not None, f"no answer: {block}"
    asked, answer = text[: found.start()].strip(), text[found.end() :].strip()
    method, path, rest = _curl(asked) if asked.startswith("curl ") else _plain(asked)
    body, file = ("", rest.removeprefix("file=@")) if rest.startswith("file=@") else (rest, "")
    return Request(seed, method, path, body, file, int(found[1]), answer, frozenset(marks))


def _plain(asked: str) -> tuple[str, str, str]:
    method, path, *rest = asked.split(maxsplit=2)
    return method, path, "".join(rest)


def _curl(asked: str) -> tuple[str, str, str]:
    """The headers are the caller's own affair: who sends it has a credential, and JSON is said to be JSON."""
    method, path, body = "GET", "", ""
    words = iter(shlex.split(asked.replace("\\\n", " "))[1:])
    for word in words:
        match word:
            case "-X":
                method = next(words)
            case "-H":
                assert next(words).split(":")[0] in ("Content-Type", "Authorization")
            case "-d":
                body = next(words)
            case _:
                path = _ADDRESS.sub("", word)
    return method, path, body
