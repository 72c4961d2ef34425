"""Kind `extract`: an uploaded file is read, described where it is a picture, and taken to the bucket if there is one.
Each step is kept as it is done, so that a later attempt goes on behind it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from config import catalogue
from config.errors import BackchannelError, Conflict, Unavailable
from config.logging import log
from config.queues import Kind
from config.settings import get_settings
from storage import blobs, conversations, files, gone, jobs, object_store, queue
from storage.database import Session, reading, transaction
from storage.file_types import PDF, PICTURES, SVG, encoding_of
from storage.jobs import NewJob
from storage.object_store import Bucket
from storage.project_tables import FileAttachment
from storage.tables import utcnow
from tasks.answering import waiting
from tasks.base import job
from tasks.embeddings import request_embedding
from tasks.run import JobRun, Outcome
from workers import registry
from workers.documents.reader import Reading, read_document, read_text
from workers.ports import Attachment, ChatMessage, ChatRequest, Delta, Sampling

# Until then a write to the bucket is over, however slow: what no file has by now is removed.
WRITTEN_WITHIN = timedelta(hours=1)
OBJECTS_AT_ONCE = 500
DESCRIPTION_TOKENS = 600
DESCRIBE = (
    "Describe this file so that it can be found again by what it shows: its subject, persons, things, place and style, "
    "in a few sentences of plain text. Copy out any writing in it, word for word."
)


@job(Kind.EXTRACT)
def extract(run: JobRun) -> Outcome:
    """{file_id, store_only?}: the latter of a file that was read before and is not in the bucket yet."""
    with reading() as session:
        file = files.find(session, run.input["file_id"])
    if file is None:
        raise _deleted()
    done = dict(run.job.checkpoint or {})
    if not run.input.get("store_only"):
        _understand(run, file, done)
    return _stored(run, file, done)


def _understand(run: JobRun, file: FileAttachment, done: dict[str, Any]) -> None:
    """`done` is what earlier attempts came to, and is added to."""
    path = blobs.path(file.digest)
    if "read" not in done:
        found = _read(run, file, path)
        done["read"] = {"characters": len(found.text or ""), "pages": found.pages, "problem": found.problem}
        _keep(run, file, done, extracted_text=found.text, problem=found.problem, read_at=utcnow())
        file.extracted_text = found.text
    if "described" not in done and file.summary_text is None and _is_to_be_described(file):
        description, problem = _describe(run, file, path)
        done["described"] = description is not None
        if description is not None or problem is not None:
            done["read"] = {**done["read"], "problem": problem}
            _keep(run, file, done, summary_text=description, problem=problem)


def _deleted() -> Conflict:
    return Conflict("The file was deleted before it was read.")


def _keep(run: JobRun, file: FileAttachment, done: dict[str, Any], **values: Any) -> None:
    """What was found out, which is to be searchable."""
    with run.slice(checkpoint=done) as session:
        if not files.write(session, file.id, **values):
            raise _deleted()
        if file.conversation_id is not None:
            conversations.reindex(session, file.conversation_id)
            request_embedding(session, run.owner_id)


# --- reading


def _read(run: JobRun, file: FileAttachment, path: Path) -> Reading:
    if file.file_type in PICTURES:
        return Reading(None)
    run.emit("status", status="reading_file")
    if file.file_type in (PDF, SVG):
        return read_document(
            path,
            file.file_type,
            limit_s=get_settings().file_read_s,
            check=run.check,
            on_page=lambda done, total: _tell_pages(run, done, total),
        )
    with path.open("rb") as opened:
        encoding = encoding_of(opened)
    return read_text(path, encoding or "utf-8")


def _tell_pages(run: JobRun, done: int, total: int) -> None:
    """Some twenty times, however many there are."""
    if done == total or done % max(1, total // 20) == 0:
        run.progress(done, total, "pages", "reading")


def _is_to_be_described(file: FileAttachment) -> bool:
    return file.file_type in PICTURES or (file.file_type == PDF and file.extracted_text is None)


def _describe(run: JobRun, file: FileAttachment, path: Path) -> tuple[str | None, str | None]:
    """What a model sees in it, or why there is nothing. Raises what is worth trying again."""
    name = get_settings().vision_model
    if not name or name in catalogue.local_models(get_settings()):
        problem = "No model that looks at pictures is set (VISION_MODEL), so what it shows is not searchable."
        return None, problem if file.file_type in PICTURES else None
    try:
        text = _described_by(name, run, file, path)
    except BackchannelError as error:
        if error.retryable:
            raise
        return None, f"It was not described: {error.detail}"
    return (text, None) if text else (None, "The model that looks at pictures said nothing about it.")


def _described_by(name: str, run: JobRun, file: FileAttachment, path: Path) -> str:
    needed = "pdf" if file.file_type == PDF else "vision"
    with registry.language_model(name, waiting(run)) as model:
        if needed not in model.abilities:
            raise Conflict(f"{model.name} does not look at files of this kind.")
        run.emit("status", status="describing_file", model=model.name)
        attachment = Attachment(file.file_type, path.read_bytes(), file.filename)
        request = ChatRequest(
            (ChatMessage("user", DESCRIBE, (attachment,)),),
            sampling=Sampling(temperature=0.2, max_tokens=DESCRIPTION_TOKENS),
            owner=run.owner_id,
            job_id=run.id,
            work_class="batch",
        )
        parts = []
        for item in model.stream(request, run.should_stop):
            if isinstance(item, Delta):
                parts.append(item.text)
            run.check()
    return "".join(parts).replace("\0", "").strip()


# --- the bucket


def _stored(run: JobRun, file: FileAttachment, done: dict[str, Any]) -> Outcome:
    result = {"file_id": file.id, "filename": file.filename, "file_type": file.file_type, **done.get("read", {})}
    result["described"] = done.get("described", file.summary_text is not None)
    bucket = object_store.bucket()
    if bucket is None or file.s3_key is not None:
        return Outcome({**result, "stored": "disk" if file.s3_key is None else "s3"})
    run.emit("status", status="storing_file")
    key = _written(run, file, bucket, done)

    def effect(session: Session) -> None:
        if not gone.keep_object(session, key):
            raise Unavailable("It took too long to store the file.")
        if not files.write(session, file.id, s3_key=key):
            gone.note_object(session, key)

    return Outcome({**result, "stored": "s3"}, effect)


def _written(run: JobRun, file: FileAttachment, bucket: Bucket, done: dict[str, Any]) -> str:
    """Its key. The object counts as gone until the file's row names it: whatever dies in between leaves none behind."""
    due_at = utcnow() + WRITTEN_WITHIN
    folder = f"conversations/{file.conversation_id}/files"
    with run.slice() as session:
        key: str = done.get("key") or f"{folder}/{file.filename}"
        if "key" in done:
            gone.note_object(session, key, due_at)
        elif not gone.claim_object(session, key, due_at):
            key = f"{folder}/{file.id}-{file.filename}"
            gone.note_object(session, key, due_at)
        jobs.fence(session, run.id, run.attempt, checkpoint={**done, "key": key})
    bucket.put(key, blobs.path(file.digest), file.file_type)
    return key


def store_leftovers() -> None:
    """What was brought before there was a bucket, or while it was away for longer than a job tries."""
    if object_store.bucket() is None:
        return
    with transaction() as session:
        for file in files.unstored(session, OBJECTS_AT_ONCE):
            new = NewJob(
                Kind.EXTRACT,
                file.owner_id,
                {"file_id": file.id, "store_only": True},
                serial_key=files.serial_key(file.id),
                conversation_id=file.conversation_id,
            )
            if (added := jobs.add_unless_active(session, new)) is not None:
                queue.send_after_commit(session, [added])


def remove_gone_objects() -> int:
    """What no file has any more leaves the bucket. Returns how many did."""
    bucket = object_store.bucket()
    removed = 0
    while bucket is not None:
        with reading() as session:
            keys = gone.objects(session, OBJECTS_AT_ONCE)
        try:
            for key in keys:
                bucket.delete(key)
                with transaction() as session:
                    gone.keep_object(session, key)
                removed += 1
        except BackchannelError as error:
            log.warning("objects stay for now", reason=error.detail)
            break
        if len(keys) < OBJECTS_AT_ONCE:
            break
    return removed
