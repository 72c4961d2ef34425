"""A model's bytes, from the hub into the models folder: resumed where an earlier try stopped, checked by hash, and in
place only when whole."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx

from config.catalogue import origin, origin_file
from config.errors import Conflict, NoSpace, Unavailable, Unusable
from workers.hub.choice import HubFile
from workers.hub.hashes import Hashes, hashes_of
from workers.hub.parts import Part, write_json
from workers.hub.repository import Found, Hub, refusal
from workers.hub.stream import Cut, Stream

# The database, the queue and the log go on writing while and after a model comes in.
MARGIN_BYTES = 512 * 1024**2
_MAGIC = b"GGUF"
_LONGEST_PAUSE_S = 15.0


@dataclass(frozen=True, slots=True)
class Pulled:
    """`sha256` of the first file; `fetched`: bytes that came over the line this time."""

    name: str
    sha256: str
    size: int
    fetched: int


@dataclass(slots=True)
class Pull:
    """One model on its way. `check` is called between blocks and may raise; `tell` gets a phase and the bytes so far.

    `reference` is what was asked for and kept with the model. `tries` in a row that bring nothing end the pull.
    """

    hub: Hub
    found: Found
    reference: str
    folder: Path
    check: Callable[[], None]
    tell: Callable[[str, int], None]
    tries: int = 6
    first_pause_s: float = 0.5
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    _before: int = 0  # bytes of the files that are done
    _fetched: int = 0
    _sha256: dict[str, str] = field(default_factory=dict)

    def run(self) -> Pulled:
        """Raises NoSpace, Conflict (another model has the name), NotFound, Forbidden, Unusable (not what it should be)
        and, worth retrying, Unavailable."""
        files = self.found.model.files
        with _disk_in_words():
            self.folder.mkdir(parents=True, exist_ok=True)
            missing = [file for file in files if not self._is_here(file)]
            self._make_sure_it_fits(missing)
            with httpx.Client(
                timeout=httpx.Timeout(30.0, connect=10.0),
                follow_redirects=True,  # to where the bytes lie; httpx leaves our token behind when that is elsewhere
                trust_env=self.hub.trusts_environment,
            ) as client:
                for file in files:
                    if file in missing:
                        self._fetch_whole(client, file)
                    self._before += file.size
            self._put_in_place(missing)
        model = self.found.model
        return Pulled(model.name, self._sha256[files[0].path], model.size, self._fetched)

    def _part(self, file: HubFile) -> Part:
        return Part(self.folder, self.found.repo, file)

    # --- before

    def _is_here(self, file: HubFile) -> bool:
        """Raises Conflict when another model has the name. What this repository had under it before is replaced."""
        path = self._part(file).whole
        if not path.exists():
            return False
        told, size = origin(path), path.stat().st_size
        if size == file.size:
            sha256 = told.get("sha256") if told.get("bytes") == size else None
            if sha256 is None or file.sha256 is None:
                self.tell("checking", self._before)
                hashes = hashes_of(path, self.check)
                sha256 = hashes.sha256 if hashes.fit(file) else None
            if sha256 is not None and file.sha256 in (None, sha256):
                self._sha256[file.path] = sha256
                return True
        if told.get("repo") != self.found.repo:
            raise Conflict(f"Another model named {file.stem} is here already; remove that first.")
        return False

    def _make_sure_it_fits(self, missing: list[HubFile]) -> None:
        needed = sum(file.size - self._part(file).size for file in missing)
        free = self.free_bytes(self.folder)
        if missing and needed + MARGIN_BYTES > free:
            raise NoSpace(
                f"The disk has {in_words(free)} free; {self.found.model.name} needs {in_words(needed)} more, and "
                f"{in_words(MARGIN_BYTES)} must stay free for everything else."
            )

    # --- one file

    def _fetch_whole(self, client: httpx.Client, file: HubFile) -> None:
        """The file into its part, hash and all. A wrong one is thrown away and fetched once more."""
        part = self._part(file)
        with part.open() as out:
            try:
                if not self._fetch(client, file, part, out).fit(file):
                    out.truncate(0)
                    hashes = self._fetch(client, file, part, out)
                    if not hashes.fit(file):
                        raise Unusable(
                            f"What came as {file.name} does not have the hash that the hub tells; it was thrown away."
                        )
            except Unusable:
                part.discard()
                raise
            out.flush()
            os.fsync(out.fileno())

    def _fetch(self, client: httpx.Client, file: HubFile, part: Part, out: IO[bytes]) -> Hashes:
        hashes = Hashes(file.size)
        if have := part.size:
            self.tell("checking", self._before)
            out.seek(0)
            hashes.read(out, have, self.check)
            self.tell("checking", self._before + hashes.size)
        else:
            out.truncate(0)
            part.note()
        failures = 0
        while hashes.size < file.size:
            before = hashes.size
            try:
                self._stream(client, file, part, out, hashes)
            except Cut as cut:
                failures = 0 if hashes.size > before else failures + 1
                if failures >= self.tries:
                    raise Unavailable(f"{file.name} stopped coming: {cut}") from None
                self._pause(failures)
        self._sha256[file.path] = hashes.sha256
        return hashes

    def _stream(self, client: httpx.Client, file: HubFile, part: Part, out: IO[bytes], hashes: Hashes) -> None:
        """What one connection brings, behind what is there. Raises Cut when it ends early."""
        headers = self.hub.headers() | {"accept-encoding": "identity"}
        if hashes.size:
            headers["range"] = f"bytes={hashes.size}-"
            if part.etag:
                headers["if-range"] = part.etag
        with Stream(client, self.hub.address(self.found, file), headers, self.check) as stream:
            if not self._goes_on(stream, file, hashes):
                hashes.restart()
                out.truncate(0)
            out.seek(hashes.size)
            part.note(stream.headers.get("etag", ""))
            for block in stream:
                if hashes.size + len(block) > file.size:
                    raise Unusable(f"{file.name} is longer than the hub says, so it was thrown away.")
                if hashes.size == 0:
                    self._require_kind(block, file)
                out.write(block)
                hashes.add(block)
                self._fetched += len(block)
                self.tell("pulling", self._before + hashes.size)
        if hashes.size < file.size:
            raise Cut("The connection ended early.")

    def _goes_on(self, stream: Stream, file: HubFile, hashes: Hashes) -> bool:
        """Whether the answer goes on behind what is there; False when it is the whole file, which may be another now.
        Raises Cut or the hub's refusal."""
        if stream.status == 206 and stream.headers.get("content-range", "").startswith(f"bytes {hashes.size}-"):
            return True
        if stream.status == 200:
            return False
        if stream.status in (206, 416):
            raise Unusable(f"The hub does not go on with {file.name} where it was asked to; pull it again.")
        trouble = refusal(self.hub, f"{self.found.repo}/{file.path}", stream.status, stream.headers)
        if trouble.retryable and not trouble.headers:
            raise Cut(trouble.detail)
        raise trouble

    def _pause(self, failures: int) -> None:
        pause_s = min(_LONGEST_PAUSE_S, self.first_pause_s * 2 ** (failures - 1)) if failures else 0.0
        until = time.monotonic() + pause_s
        while (left := until - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, 0.1))

    def _require_kind(self, block: bytes, file: HubFile) -> None:
        """By how it begins. Raises Unusable."""
        require_no_page(block, file)
        if not block.startswith(_MAGIC[: len(block)]):
            raise Unusable(f"{file.name} is no GGUF file.")

    # --- after

    def _put_in_place(self, missing: list[HubFile]) -> None:
        """The first file last: with it the model is there."""
        self.check()
        for file in reversed(self.found.model.files):
            part = self._part(file)
            if file in missing:
                part.finish()
            told = {"reference": self.reference, "repo": self.found.repo, "revision": self.found.revision}
            write_json(origin_file(part.whole), {**told, "sha256": self._sha256[file.path], "bytes": file.size})
        sync_folder(self.folder)


@contextmanager
def _disk_in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace("The disk was full before the model was there; what had come is kept.") from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise Unusable("The models folder in DATA_DIR cannot be written to.") from None
        raise


def require_no_page(block: bytes, file: HubFile) -> None:
    if block.lstrip()[:1] == b"<":
        raise Unusable(f"Instead of {file.name} a web page came: something between here and the hub asks for a person.")


def sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def in_words(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
