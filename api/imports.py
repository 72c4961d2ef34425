"""/api/imports: bring conversations home."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Response, get, post
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery, Parameter

from api.intake import AnyRequest, builder, submit
from api.media import FORM, JSON, TAKES, is_json
from api.schemas import MAX_OFFSET, ImportIn
from api.threads import reading as in_thread
from api.threads import waiting
from api.waiting import preference, respond
from config.errors import BadRequest, Unusable
from config.queues import Kind
from config.settings import MIB, get_settings
from storage import blobs, imports, jobs
from storage.database import reading

Json = dict[str, Any]


async def _read_form(request: AnyRequest) -> None:
    """Before the handler's arguments are made, so that what is wrong with the body can be said."""
    kind = request.content_type[0]
    if is_json(kind):
        raise Unusable("Imports from a URL are not there yet; send the file itself as multipart/form-data.")
    try:
        if kind == FORM:
            await request.form()
    except (UnicodeDecodeError, LookupError):
        raise BadRequest("The form holds a field that is not text in its own charset.") from None


def _file_name(given: str) -> str:
    """The last part of what a browser or a script calls the file; it is shown, never opened."""
    name = given.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in name if letter.isprintable())[:500]


class ImportController(Controller):
    path = "/api/imports"
    tags = ["imports"]  # noqa: RUF012

    @post(
        "/",
        status_code=202,
        summary="Import an export file",
        before_request=_read_form,
        opt={TAKES: (FORM, JSON)},
    )
    async def create(
        self, request: AnyRequest, data: Annotated[dict[str, Any], Body(media_type=RequestEncodingType.MULTI_PART)]
    ) -> Response[Json]:
        file = data.get("file")
        if not isinstance(file, UploadFile) or len(data) != 1:
            raise Unusable("Send the export as one multipart field named `file`.")
        digest, size = await waiting(blobs.store, file.file, get_settings().max_upload_mb * MIB)
        if size == 0:
            raise Unusable("The file is empty.")
        body = ImportIn(blob=digest, filename=_file_name(file.filename or ""))
        job = await submit(request, Kind.IMPORT, builder(Kind.IMPORT, body, request.user.id), body.model_dump())
        return await respond(request, job, preference(request, default_wait_s=0))

    @get("/{job_id:str}/items", summary="What became of each conversation in the file")
    async def items(
        self,
        request: AnyRequest,
        job_id: FromPath[str],
        status: FromQuery[str | None] = None,
        limit: Annotated[int, Parameter(ge=1)] = 100,
        offset: Annotated[int, Parameter(ge=0, le=MAX_OFFSET)] = 0,
    ) -> Json:
        return await in_thread(_items, request.user.id, job_id, status, min(limit, get_settings().max_page), offset)


def _items(owner_id: str, job_id: str, status: str | None, limit: int, offset: int) -> Json:
    with reading() as session:
        jobs.get(session, job_id, owner_id)
        rows, total = imports.page(session, job_id, status=status, limit=limit, offset=offset)
    names = ("item_index", "status", "reason", "title", "native_id", "conversation_id", "messages")
    return {
        "items": [{name: getattr(row, name) for name in names} for row in rows],
        "total": total,
        "limit": limit,
        "offset": offset,
    }
