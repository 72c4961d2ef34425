"""Files as an upload leaves them, and the job that reads them."""

from __future__ import annotations

import io
from typing import Any

from config.queues import Kind
from storage import blobs, conversations, files
from storage.database import reading, transaction
from storage.file_types import recognise
from storage.project_tables import FileAttachment
from storage.tables import LOCAL_OWNER
from tasks.base import run_job
from tests import factories


class Killed(BaseException):
    """kill -9 as far as the job is concerned."""


def brought(content: bytes, name: str, conversation_id: str | None = None) -> tuple[str, str]:
    """(file id, job id), as an upload leaves them."""
    conversation_id = conversation_id or factories.conversation()
    digest, size = blobs.store(io.BytesIO(content), 10**8)
    kind = recognise(io.BytesIO(content), name, None)
    with transaction() as session:
        row = conversations.get(session, conversation_id, LOCAL_OWNER, lock=True)
        file = files.add(session, row, filename=name, file_size=size, file_type=kind, digest=digest)
    given = {"serial_key": files.serial_key(file.id), "conversation_id": conversation_id}
    return file.id, factories.job(Kind.EXTRACT, input={"file_id": file.id}, **given)


def worked(job_id: str) -> dict[str, Any]:
    run_job(job_id)
    job = factories.load(job_id)
    assert job.status == "succeeded", job.error
    assert job.result is not None
    return job.result


def load(file_id: str) -> FileAttachment:
    with reading() as session:
        return files.get(session, file_id, LOCAL_OWNER)


def remove(file_id: str) -> None:
    with transaction() as session:
        files.remove(session, file_id, LOCAL_OWNER)
