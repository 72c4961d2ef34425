"""Files of conversations: brought as multipart, kept beside them, fetched by addresses that expire."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import Controller, Response, delete, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath, FromQuery, Parameter
from litestar.response import File, Redirect

from api.intake import AnyRequest, submit
from api.media import FORM, TAKES
from api.schemas import MAX_OFFSET
from api.threads import reading as in_thread
from api.threads import waiting, writing
from api.views import iso
from api.waiting import preference, respond
from config.errors import BadRequest, Forbidden, NotFound, TooLarge, Unusable
from config.queues import Kind
from config.settings import MIB, get_settings
from storage import blobs, conversations, files, object_store, questions
from storage.database import Session, reading, transaction
from storage.file_types import SVG, recognise, safe_name
from storage.jobs import NewJob
from storage.object_store import disposition
from storage.project_tables import FileAttachment
from storage.secrets import is_signed, sign
from storage.tables import Conversation, Job

Json = dict[str, Any]
_PURPOSE = "file download"
# A file is saved, never shown as a page of ours, whatever a browser makes of its content.
SAVED = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-store",
}


@dataclass(frozen=True, slots=True)
class _Upload:
    filename: str
    file_size: int
    file_type: str
    digest: str


class FileController(Controller):
    path = "/api/conversations"
    tags = ["files"]  # noqa: RUF012

    @post("/{conversation_id:str}/files", status_code=201, summary="Attach a file", opt={TAKES: (FORM,)})
    async def create(self, request: AnyRequest, conversation_id: FromPath[str]) -> Response[Json]:
        found, _ = await _received(request, ())
        job = await _attach(request, found, conversation_id)
        wish = preference(request, default_wait_s=0)
        if wish.applied is not None:
            return await respond(request, job, wish, _read_json)
        body = await in_thread(_shown, request.user.id, job.input["file_id"])
        return Response(body, status_code=201, headers={"Location": body["links"]["self"]})

    @get("/{conversation_id:str}/files", summary="The files of a conversation")
    async def list(
        self,
        request: AnyRequest,
        conversation_id: FromPath[str],
        limit: Annotated[int, Parameter(ge=1)] = 50,
        offset: Annotated[int, Parameter(ge=0, le=MAX_OFFSET)] = 0,
    ) -> Json:
        return await in_thread(_page, request.user.id, conversation_id, min(limit, get_settings().max_page), offset)

    @get("/files/{file_id:str}", summary="A file and the text that was found in it")
    async def show(self, request: AnyRequest, file_id: FromPath[str]) -> Json:
        return await in_thread(_shown, request.user.id, file_id, with_text=True)

    @get("/files/{file_id:str}/download", summary="To the file itself; as JSON, its signed address")
    async def download(self, request: AnyRequest, file_id: FromPath[str]) -> Response[Any]:
        url, expires_at = await in_thread(_signed, request.user.id, file_id)
        headers = {"Cache-Control": "private, no-store", "Vary": "Accept"}
        if request.accept.best_match(["*/*", "application/json"], default="*/*") == "application/json":
            return Response({"url": url, "expires_at": iso(expires_at)}, headers=headers)
        return Redirect(url, status_code=307, headers=headers)

    @delete("/files/{file_id:str}", summary="Remove a file for good")
    async def remove(self, request: AnyRequest, file_id: FromPath[str]) -> None:
        await writing(_remove, request.user.id, file_id)


@post("/api/upload", status_code=200, tags=["files"], summary="Bring a file to a session", opt={TAKES: (FORM,)})
async def upload(request: AnyRequest) -> Response[Json]:
    """Without `session_id` the file belongs to the current session, which can be asked about it."""
    found, form = await _received(request, ("session_id",))
    job = await _attach(request, found, form.get("session_id"))
    wish = preference(request, default_wait_s=0)
    if wish.applied is not None:
        return await respond(request, job, wish, lambda session, ended: _faithh(_read_json(session, ended)))
    return Response(_faithh(await in_thread(_shown, request.user.id, job.input["file_id"])))


def _faithh(file: Json) -> Json:
    return {
        "success": True,
        "message": f"{file['filename']} was uploaded.",
        "filename": file["filename"],
        "size": file["file_size"],
        "session_id": file["conversation_id"],
        "file": file,
    }


@get("/api/files/{file_id:str}", tags=["files"], summary="A file, by its signed address")
async def signed_file(
    file_id: FromPath[str], expires: FromQuery[int], signature: FromQuery[str]
) -> File | Redirect | Response[Any]:
    """The signature is the permission: whoever was given the address may fetch the file until it expires."""
    if not is_signed(_PURPOSE, f"{file_id} {expires}", signature):
        raise Forbidden("This address was not made here.")
    if time.time() >= expires:
        raise Forbidden("This address has expired; ask for a new one.")
    return await in_thread(_bytes, file_id)


# --- coming in


async def _received(request: AnyRequest, fields: tuple[str, ...]) -> tuple[_Upload, dict[str, str]]:
    """The field `file`, looked through and on disk, and the other `fields`."""
    try:
        form = await request.form()
    except (UnicodeDecodeError, LookupError):
        raise BadRequest("The form holds a field that is not text in its own charset.") from None
    file = form.get("file")
    others = {name: value for name, value in form.items() if name != "file"}
    usable = all(name in fields and isinstance(value, str) and "\0" not in value for name, value in others.items())
    if not isinstance(file, UploadFile) or not usable or len(list(form.multi_items())) != 1 + len(others):
        more = f", and {', '.join(fields)} as text if you like" if fields else ""
        raise Unusable(f"Send one file as the multipart field `file`{more}.")
    return await waiting(_taken_in, file), others


def _taken_in(file: UploadFile) -> _Upload:
    limit = get_settings().max_file_mb * MIB
    size = file.file.seek(0, io.SEEK_END)
    if size > limit:
        raise TooLarge(f"The file is larger than {limit // MIB} MiB.")
    if size == 0:
        raise Unusable("The file is empty.")
    filename = safe_name(file.filename or "")
    file_type = recognise(file.file, filename, file.content_type)
    digest, size = blobs.store(file.file, limit)
    return _Upload(filename, size, file_type, digest)


async def _attach(request: AnyRequest, found: _Upload, conversation_id: str | None) -> Job:
    hashed = [found.digest, found.filename, conversation_id]
    return await submit(request, Kind.EXTRACT, _builder(request.user.id, found, conversation_id), hashed)


def _builder(owner_id: str, found: _Upload, conversation_id: str | None) -> Callable[[Session], NewJob]:
    """The file's row and the job that reads it."""

    def build(session: Session) -> NewJob:
        conversation = _open(session, owner_id, conversation_id)
        values = {name: getattr(found, name) for name in _Upload.__dataclass_fields__}
        file = files.add(session, conversation, **values)
        return NewJob(
            Kind.EXTRACT,
            owner_id,
            {"file_id": file.id},
            serial_key=files.serial_key(file.id),
            conversation_id=conversation.id,
        )

    return build


def _open(session: Session, owner_id: str, conversation_id: str | None) -> Conversation:
    if conversation_id is None:
        return questions.current(session, owner_id)
    return conversations.open_for_writing(session, conversation_id, owner_id)


# --- being shown


def file_json(session: Session, file: FileAttachment) -> Json:
    """`processed`: whether it was read; `problem`: why it holds no text, or not all of it."""
    job = files.job_of(session, file.id)
    base = f"/api/conversations/files/{file.id}"
    return {
        "id": file.id,
        "conversation_id": file.conversation_id,
        "message_id": file.message_id,
        "filename": file.filename,
        "file_size": file.file_size,
        "file_type": file.file_type,
        "processed": file.read_at is not None,
        "has_text": bool(file.extracted_text),
        "summary_text": file.summary_text,
        "problem": file.problem,
        "created_at": iso(file.created_at),
        "job_id": job.id if job is not None else None,
        "links": {"self": base, "download": f"{base}/download"},
    }


def _read_json(session: Session, job: Job) -> Json:
    return file_json(session, files.get(session, job.input["file_id"], job.owner_id))


def _shown(owner_id: str, file_id: str, *, with_text: bool = False) -> Json:
    with reading() as session:
        file = files.get(session, file_id, owner_id)
        return file_json(session, file) | ({"extracted_text": file.extracted_text} if with_text else {})


def _page(owner_id: str, conversation_id: str, limit: int, offset: int) -> Json:
    with reading() as session:
        conversation = conversations.get(session, conversation_id, owner_id)
        rows, total = files.page(session, conversation.id, limit=limit, offset=offset)
        listed = [file_json(session, row) for row in rows]
    return {"files": listed, "total": total, "limit": limit, "offset": offset}


def _remove(owner_id: str, file_id: str) -> None:
    with transaction() as session:
        files.remove(session, file_id, owner_id)


# --- being fetched


def _signed(owner_id: str, file_id: str) -> tuple[str, datetime]:
    with reading() as session:
        file = files.get(session, file_id, owner_id)
    expires = int(time.time()) + get_settings().file_url_s
    return _address(file, expires), datetime.fromtimestamp(expires, UTC)


def address_here(file_id: str, expires: int) -> str:
    """Its signed address, which leads on to the bucket where it lies there. The caller has seen whose file it is."""
    return f"/api/files/{file_id}?expires={expires}&signature={sign(_PURPOSE, f'{file_id} {expires}')}"


def _address(file: FileAttachment, expires: int) -> str:
    if file.s3_key is None:
        return address_here(file.id, expires)
    left_s = max(1, expires - int(time.time()))
    return object_store.require_bucket().url(file.s3_key, file.filename, _served_as(file), left_s)


def _served_as(file: FileAttachment) -> str:
    """An SVG is a page that runs; nobody who saves it needs it called so."""
    return "application/octet-stream" if file.file_type == SVG else file.file_type


def _bytes(file_id: str) -> File | Redirect:
    with reading() as session:
        file = files.find(session, file_id)
    if file is None:
        raise NotFound("The file was deleted.")
    if file.s3_key is not None:  # it moved since the address was made
        return Redirect(_address(file, int(time.time()) + 60), status_code=307)
    headers = {**SAVED, "Content-Disposition": disposition(file.filename)}
    return File(blobs.path(file.digest), media_type=_served_as(file), headers=headers)
