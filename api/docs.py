"""/docs (Swagger UI), /redoc and /openapi.json. Scripts and styles are the ones that the package offapi brings along:
the pages ask no other host for anything, and their policy would not let them."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
from litestar import MediaType, Request, Response, Router, get
from litestar.datastructures import ResponseHeader
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.params import FromPath

from api.openapi.document import config, document
from config.errors import NotFound

# Name in the address → name in the package, type. Its Python module is not imported: it would read 9 MB into memory.
_ASSETS = {
    "swagger.css": ("swagger_style.css", "text/css"),
    "swagger.js": ("swagger_bundle.js", "text/javascript"),
    "redoc.js": ("redoc.js", "text/javascript"),
}
# Redoc shows a picture of its maker's, from there; without one it shows none.
_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini-full.svg"
_CACHED = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}

_SWAGGER = """
window.onload = () => SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null, docExpansion: "list", filter: true,
});
"""
_REDOC = """
import { init } from "/docs/assets/redoc.js";
init("/openapi.json", { disableTelemetry: true, hideLoading: true }, document.getElementById("page"));
"""


def _page(head: str, script: str, kind: str) -> bytes:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Backchannel</title>
<link rel="icon" href="data:,">
{head}
</head>
<body>
<div id="page"></div>
<script type="{kind}">{script}</script>
</body>
</html>
""".encode()


def _policy(script: str) -> ResponseHeader:
    """Nothing from elsewhere, and of what stands in the page itself this script, and styles that are empty at first:
    Redoc fills them rule by rule."""
    rules = (
        "default-src 'none'", f"script-src 'self' {_mark(script)}", f"style-src 'self' {_mark('')}",
        "img-src 'self' data:", "font-src 'self' data:", "connect-src 'self'", "worker-src 'self' blob:",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    )  # fmt: skip
    return ResponseHeader(name="Content-Security-Policy", value="; ".join(rules))


def _mark(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_SWAGGER_HEAD = '<link rel="stylesheet" href="/docs/assets/swagger.css"><script src="/docs/assets/swagger.js"></script>'
_SWAGGER_PAGE = _page(_SWAGGER_HEAD, _SWAGGER, "text/javascript")
_REDOC_PAGE = _page("", _REDOC, "module")


@get("/openapi.json", include_in_schema=False)
async def openapi_json(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return document(request.app)


@get("/redoc", include_in_schema=False, media_type=MediaType.HTML, response_headers=[_policy(_REDOC)])
async def redoc() -> bytes:
    return _REDOC_PAGE


@get("/docs/assets/{name:str}", include_in_schema=False, sync_to_thread=True)
def docs_asset(name: FromPath[str]) -> Response[bytes]:
    if name not in _ASSETS:
        raise NotFound("There is nothing at this address.")
    content, media_type = _asset(name)
    return Response(content, media_type=media_type, headers=_CACHED)


@cache
def _asset(name: str) -> tuple[bytes, str]:
    file, media_type = _ASSETS[name]
    package = find_spec("offapi")
    assert package is not None, "offapi is a requirement"
    assert package.origin is not None
    content = (Path(package.origin).parent / file).read_bytes()
    return content.replace(_LOGO, b"data:,"), media_type


class _SwaggerPage(OpenAPIRenderPlugin):
    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return _SWAGGER_PAGE


class _Document(JsonRenderPlugin):
    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return orjson.dumps(document(request.app))


async def _only_known(request: Request[Any, Any, Any]) -> None:
    """The framework has a page for what is not there; here that is an error like any other."""
    if request.scope["path"].rstrip("/") not in ("/docs", "/docs/openapi.json"):
        raise NotFound("There is nothing at this address.")


def openapi_config() -> OpenAPIConfig:
    """`/docs` is the framework's; its router is made anew because an app adds its routes to it."""
    router = Router(
        "/docs",
        route_handlers=[],
        include_in_schema=False,
        before_request=_only_known,
        response_headers=[_policy(_SWAGGER)],
    )
    return config(router, [_SwaggerPage(path="/"), _Document(path="/openapi.json")])
