"""/docs, /redoc and /openapi.json."""

from __future__ import annotations

from typing import Any

from litestar import MediaType, Request, Router, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import RedocRenderPlugin, SwaggerRenderPlugin

from config.errors import NotFound

_redoc = RedocRenderPlugin()


@get("/openapi.json", include_in_schema=False)
async def openapi_json(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return request.app.openapi_schema.to_schema()


@get("/redoc", include_in_schema=False, media_type=MediaType.HTML)
async def redoc(request: Request[Any, Any, Any]) -> bytes:
    return _redoc.render(request, request.app.openapi_schema.to_schema())


async def _only_known(request: Request[Any, Any, Any]) -> None:
    """The framework has a page for what is not there; here that is an error like any other."""
    if request.scope["path"].rstrip("/") not in ("/docs", "/docs/openapi.json"):
        raise NotFound("There is nothing at this address.")


def openapi_config() -> OpenAPIConfig:
    """`/docs` is the framework's; its router is made anew because an app adds its routes to it."""
    router = Router("/docs", route_handlers=[], include_in_schema=False, before_request=_only_known)
    return OpenAPIConfig(
        title="Backchannel",
        version="0.1.0",
        path="/docs",
        openapi_router=router,
        render_plugins=[SwaggerRenderPlugin(path="/")],
    )
