"""One log shape for all processes: structured, with the job id on every line a job causes."""

from __future__ import annotations

import logging
import sys

import structlog

from config.settings import get_settings

log = structlog.stdlib.get_logger("backchannel")

# Libraries whose INFO is chatter about every request or message.
_QUIET = (
    "httpx", "httpcore", "celery.worker.strategy", "celery.app.trace", "celery.beat", "chromadb", "uvicorn.access",
    "sentence_transformers", "urllib3", "alembic", "asyncio", "posthog", "tornado.access", "kombu", "multipart",
    "celery.worker.request",
)  # fmt: skip


def _without_colours(_logger: object, _name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    event.pop("color_message", None)  # uvicorn says everything twice
    return event


def configure_logging(process: str) -> None:
    """Send structlog and stdlib logging of this process to stderr. `process` is its name in the Procfile."""
    settings = get_settings()
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        _without_colours,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.PositionalArgumentsFormatter(),
                    structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )  # fmt: skip
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer(default=str)
        if as_json
        # A plain traceback: the rich one prints local variables, and those hold messages and secrets.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
    )
    final: list[structlog.types.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        final.append(structlog.processors.format_exc_info)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*final, renderer]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.contextvars.bind_contextvars(process=process)
