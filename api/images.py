"""/images/{name}: the pictures that the owner has put into DATA_DIR/images for everybody to see, and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

from litestar import Response, get
from litestar.params import FromPath

from api.intake import AnyRequest
from api.threads import reading as in_thread
from config.errors import NotFound, WrongMedia
from config.settings import MIB, get_settings
from storage.file_types import PICTURES, SVG, recognise

CACHED_S = 3600
# An SVG may hold scripts: as a picture in a page none runs, and opened by itself none runs either.
_HEADERS = {
    "Cache-Control": f"public, max-age={CACHED_S}",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}


@get("/images/{name:str}", tags=["files"], summary="A picture of this server's own")
async def image(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    content, media_type = await in_thread(_picture, name)
    headers = {**_HEADERS, "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def _picture(name: str) -> tuple[bytes, str]:
    path = _path(name)
    if path.stat().st_size > get_settings().max_file_mb * MIB:
        raise _missing(name)
    try:
        with path.open("rb") as file:
            found = recognise(file, path.name, None)
            content = file.read()
    except (WrongMedia, OSError):
        raise _missing(name) from None
    if found not in {*PICTURES, SVG}:
        raise _missing(name)
    return content, found


def _path(name: str) -> Path:
    """Of a file that lies directly in the folder; a link out of it is none."""
    folder = (get_settings().data_dir / "images").resolve()
    if name.startswith(".") or "/" in name or "\\" in name or "\0" in name:
        raise _missing(name)
    try:
        path = (folder / name).resolve()
        if path.parent == folder and path.is_file():
            return path
    except (OSError, ValueError):  # a name that no file can have
        pass
    raise _missing(name)


def _missing(name: str) -> NotFound:
    return NotFound(f"There is no picture {name[:64]}.")
