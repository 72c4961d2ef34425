"""`backchannel import`: files, folders and zips become import jobs, and the jobs are seen to their end."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from pathlib import Path
from typing import Any, TextIO

import click
from click.exceptions import Exit

from cli.client import ENDED, Client, Waiting
from cli.exports import Memory, Unfinished, digest_of, find
from cli.import_report import Bars, Row, print_failures, print_table, tell_skipped
from cli.links import PathOrLink, lines, link_rows
from cli.output import INTERRUPTED, Command, note, print_json, remote, short, shown_path
from cli.problems import ClientError

Json = dict[str, Any]

# Jobs the server has at once from one command: enough to keep its import workers busy while the next file is sent.
IN_FLIGHT = 4


@click.command(cls=Command)
@click.argument("given", nargs=-1, metavar="PATH|LINK…", type=PathOrLink())
@click.option("--links", type=click.File(encoding="utf-8", errors="replace"), help="A file with a share link per line.")
@click.option("--wait/--no-wait", default=True, help="--no-wait: send the files, print the jobs' ids and leave.")
@click.option("--wait-index", is_flag=True, help="Wait, too, until what was imported can be found by its meaning.")
@click.option("--progress/--no-progress", default=True, help="Bars on stderr [default: where stderr is a terminal].")
@remote
def command(
    client: Client,
    given: tuple[Path | str, ...],
    links: TextIO | None,
    wait: bool,
    wait_index: bool,
    progress: bool,
    as_json: bool,
) -> None:
    """Import export files, zips, folders of them, and share links. Interrupted, the same command goes on."""
    if not given and links is None:
        raise click.UsageError("Name what to import: files, folders or share links.")
    found = find([one for one in given if isinstance(one, Path)])
    skipped = [one for one in found if one.why and not one.failed]
    rows = [Row(one.path, error=one.why) for one in found if one.failed or not one.why]
    rows += link_rows([*(one for one in given if isinstance(one, str)), *lines(links)])
    tell_skipped(skipped)
    if not rows:
        raise ClientError("There is no export file and no link in what was given.", "nothing_to_import")
    client.jobs(1)  # a server that is not there is said at once, not waited for
    rows, interrupted = _import(client, rows, wait, progress)
    if as_json:
        left_out = [{"file": shown_path(one.path), "reason": one.why} for one in skipped]
        print_json({"imports": [row.as_json() for row in rows], "skipped": left_out})
    elif wait:
        print_table(rows)
        print_failures(rows)
    else:
        _print_ids(rows)
    if interrupted:
        note("Stopped watching; what was sent goes on in the server. The same command again goes on from here.")
        raise Exit(INTERRUPTED)
    if wait and any(row.status == "succeeded" for row in rows):
        if wait_index:
            _wait_for_index(client, progress)
        if not as_json:
            _tell_index(client)
    if any(row.error if not wait else not row.is_good for row in rows):
        raise Exit(1)


def _import(client: Client, rows: list[Row], wait: bool, progress: bool) -> tuple[list[Row], bool]:
    """Returns the rows without those that repeat another, and whether Ctrl-C ended it."""
    with Bars(len(rows), progress) as bars:
        client.notify = bars.note
        batch = _Batch(client, bars, wait)
        interrupted = False
        try:
            batch.run(rows)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            client.notify = note
    return [row for row in rows if row not in batch.same], interrupted


class _Batch:
    """Files are sent one after the other; while one is sent or followed, the jobs of some others run."""

    def __init__(self, client: Client, bars: Bars, wait: bool) -> None:
        self.same: set[Row] = set()  # rows whose content is another row's
        self._client, self._bars, self._wait = client, bars, wait
        self._memory = Memory(client.address)
        self._digests: dict[str, Row] = {}
        self._is_away = False

    def run(self, rows: list[Row]) -> None:
        in_flight: deque[tuple[Row, str]] = deque()
        for row in rows:
            digest = self._send(row) if row.error is None else None
            if digest is None or not self._wait:
                self._bars.end(row.path)
                continue
            in_flight.append((row, digest))
            if len(in_flight) >= IN_FLIGHT:
                self._follow(*in_flight.popleft())
        for row, digest in in_flight:
            self._follow(row, digest)

    def _send(self, row: Row) -> str | None:
        """Make or find the row's job. Returns the file's digest, or None when there is no job to follow."""
        if self._is_away:
            row.error = "Not sent, because the server is away."
            return None
        if row.link is not None:
            return self._send_link(row, row.link)
        try:
            size = row.path.stat().st_size
            self._bars.phase(row.path, "reading", size)
            digest = digest_of(row.path, lambda read: self._bars.advance(row.path, read))
        except OSError as error:
            row.error = f"The file cannot be read: {error.strerror or error}."
            return None
        if digest in self._digests:
            self._bars.note(f"{row.file} is the same as {self._digests[digest].file}.")
            self.same.add(row)
            return None
        self._digests[digest] = row
        try:
            row.job = self._earlier_job(row, digest) or self._upload(row, digest, size)
        except ClientError as error:
            self._fail(row, digest, error)
            return None
        return digest

    def _send_link(self, row: Row, link: str) -> str | None:
        digest = hashlib.sha256(link.encode()).hexdigest()
        self._bars.phase(row.path, "sent")
        try:
            row.job = self._earlier_job(row, digest)
            if row.job is None:
                entry = self._memory.recall(digest) or self._memory.begin(digest, link)
                row.job = self._client.patiently(lambda: self._client.import_link(link, entry.key))
                entry.job_id = row.job["id"]
                self._memory.keep(digest, entry)
        except ClientError as error:
            self._fail(row, digest, error)
            return None
        return digest

    def _earlier_job(self, row: Row, digest: str) -> Json | None:
        """The job of an earlier run whose end nobody saw; one that failed meanwhile is set to work again."""
        entry = self._memory.recall(digest)
        if entry is None or entry.job_id is None:
            return None
        job_id = entry.job_id
        self._bars.phase(row.path, "sent")
        try:
            job = self._client.patiently(lambda: self._client.job(job_id))
            if job["status"] in ENDED and not self._wait:
                self._memory.forget(digest)  # its end is not asked for, so this is meant as a new import
                return None
            if job["status"] in ("failed", "cancelled"):
                job = self._client.act(job_id, "retry")
        except ClientError as error:
            if error.may_pass:
                raise
            self._memory.forget(digest)  # this server knows nothing of it: it was wiped, or forgot old jobs
            return None
        self._bars.note(f"{row.file} was sent before; going on with its import.")
        return job

    def _upload(self, row: Row, digest: str, size: int) -> Json:
        entry = self._memory.recall(digest) or self._memory.begin(digest, shown_path(Path(row.path.name)))
        job = self._client.patiently(lambda: self._upload_once(row, entry, size))
        entry.job_id = job["id"]
        self._memory.keep(digest, entry)
        return job

    def _upload_once(self, row: Row, entry: Unfinished, size: int) -> Json:
        self._bars.phase(row.path, "sending", size)
        job = self._client.upload(row.path, entry.name, entry.key, lambda sent: self._bars.advance(row.path, sent))
        self._bars.phase(row.path, "sent")
        return job

    def _follow(self, row: Row, digest: str) -> None:
        assert row.job is not None
        job_id = row.job["id"]
        waiting = Waiting(self._client)
        try:
            if self._is_away:
                raise ClientError("The server is away.", "unreachable")
            for event in self._client.events(job_id):
                if event is not None:
                    self._bars.take(row.path, event)
                else:
                    waiting.look(self._client.patiently(lambda: self._client.job(job_id)))
            row.job = self._client.patiently(lambda: self._client.job(job_id))
            if row.result and row.result["conversations"]["failed"]:
                row.failures = self._client.patiently(lambda: list(self._client.items(job_id, "failed")))
            self._memory.forget(digest)
        except ClientError as error:
            self._fail(row, digest, error)
        self._bars.end(row.path)

    def _fail(self, row: Row, digest: str, error: ClientError) -> None:
        row.error = error.message
        if error.code == "unreachable":
            self._is_away = True
        if not error.may_pass:
            self._memory.forget(digest)
        elif row.job is not None:
            row.error = f"{error.message} The import goes on in the server; the same command again finds it."


def _print_ids(rows: list[Row]) -> None:
    for row in rows:
        if row.error:
            note(f"{row.file}: {row.error}")
        elif row.job:
            click.echo(row.job["id"])


# --- what comes after an import ---


def _newest_index_job(client: Client) -> Json | None:
    return next(iter(client.jobs(1, kind="embed")), None)


def _wait_for_index(client: Client, progress: bool) -> None:
    """Until indexing has been quiet for two looks: what changes while one job ends is the next one's."""
    name, quiet = Path("search index"), 0
    with Bars(1, progress) as bars:
        while quiet < 2:
            job = _newest_index_job(client)
            if job is None or job["status"] in ENDED:
                quiet += 1
                time.sleep(client.pause_s)
                continue
            quiet = 0
            bars.phase(name, "waiting")
            for event in client.events(job["id"]):
                if event is not None:
                    bars.take(name, event)


def _tell_index(client: Client) -> None:
    try:
        job = _newest_index_job(client)
    except ClientError:
        return  # the imports are told; this was only a hint
    if job is None:
        return
    if job["status"] not in ENDED:
        progress = job["progress"]
        how_far = f" ({progress['done']:,} of {progress['total']:,} conversations)" if progress else ""
        watching = f"`backchannel jobs watch {short(job['id'])}`"
        note(f"Found by title now; by meaning as indexing goes on{how_far}: {watching}.")
    elif job["status"] == "failed":
        note(f"Found by title only, because indexing failed: {job['error']['message']}")
    else:
        note("Found by title and by meaning: `backchannel search`.")
