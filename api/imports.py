"""/api/imports: bring conversations home."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Response, get, post
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery, Parameter

from api.intake import AnyRequest, builder, submit
from api.schemas import ImportIn
from api.threads import reading as in_thread
from api.threads import waiting
from api.waiting import preference, respond
from config.errors import Unusable
from config.queues import Kind
from config.settings import MIB, get_settings
from storage import blobs, imports, jobs
from storage.database import reading

Json = dict[str, Any]


class ImportController(Controller):
    path = "/api/imports"
    tags = ["imports"]  # noqa: RUF012

    @post(
        "/",
        status_code=202,
        summary="Import an export file",
        request_max_body_size=get_settings().max_upload_mb * MIB + MIB,
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
        body = ImportIn(blob=digest, filename=(file.filename or "")[:500])
        job = await submit(request, Kind.IMPORT, builder(Kind.IMPORT, body, request.user.id), body.model_dump())
        return await respond(request, job, preference(request, default_wait_s=0))

    @get("/{job_id:str}/items", summary="What became of each conversation in the file")
    async def items(
        self,
        request: AnyRequest,
        job_id: FromPath[str],
        status: FromQuery[str | None] = None,
        limit: Annotated[int, Parameter(ge=1)] = 100,
        offset: Annotated[int, Parameter(ge=0)] = 0,
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
