"""/api/imports: bring conversations home."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Response, get, post
from litestar.datastructures import FormMultiDict, UploadFile
from litestar.exceptions import SerializationException
from litestar.params import FromPath, FromQuery, Parameter

from api.intake import AnyRequest, builder, submit
from api.media import FORM, JSON, TAKES, is_json
from api.schemas import MAX_OFFSET, ImportIn, parse_body
from api.threads import reading as in_thread
from api.threads import waiting
from api.waiting import preference, respond
from config.errors import BadRequest, Unusable
from config.queues import Kind
from config.settings import MIB, get_settings
from storage import blobs, imports, jobs
from storage.database import reading

Json = dict[str, Any]
_OPTIONS = ("accept_summarization", "model")


def _file_name(given: str) -> str:
    """The last part of what a browser or a script calls the file; it is shown, never opened."""
    name = given.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in name if letter.isprintable())[:500]


async def _linked(request: AnyRequest) -> ImportIn:
    try:
        given = await request.json()
    except SerializationException:
        raise BadRequest("The request body is not valid JSON.") from None
    body = parse_body(ImportIn, given)
    if body.url is None:
        raise Unusable('Send {"url": …} with a share link, or the file itself as multipart/form-data.')
    return body


async def _uploaded(request: AnyRequest) -> ImportIn:
    try:
        form = await request.form() if request.content_type[0] == FORM else FormMultiDict()
    except (UnicodeDecodeError, LookupError):
        raise BadRequest("The form holds a field that is not text in its own charset.") from None
    file = form.get("file")
    options = {name: value for name, value in form.items() if name != "file"}
    usable = all(name in _OPTIONS and isinstance(value, str) for name, value in options.items())
    if not isinstance(file, UploadFile) or not usable or len(list(form.multi_items())) != 1 + len(options):
        raise Unusable(f"Send the export as one multipart field named `file`; {' and '.join(_OPTIONS)} may go with it.")
    given = parse_body(ImportIn, {"blob": "0" * 64, **options})  # before the file is kept
    digest, size = await waiting(blobs.store, file.file, get_settings().max_upload_mb * MIB)
    if size == 0:
        raise Unusable("The file is empty.")
    return given.model_copy(update={"blob": digest, "filename": _file_name(file.filename or "")})


class ImportController(Controller):
    path = "/api/imports"
    tags = ["imports"]  # noqa: RUF012

    @post("/", status_code=202, summary="Import an export file or a share link", opt={TAKES: (FORM, JSON)})
    async def create(self, request: AnyRequest) -> Response[Json]:
        body = await _linked(request) if is_json(request.content_type[0]) else await _uploaded(request)
        given = body.model_dump(exclude_defaults=True)
        job = await submit(request, Kind.IMPORT, builder(Kind.IMPORT, body, request.user.id), given)
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
