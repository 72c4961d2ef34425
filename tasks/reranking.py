"""A second look at what was found: the model of RERANK_MODEL reads the query with each of the best passages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate

from config.errors import ModelUnavailable
from config.logging import log
from config.settings import get_settings
from workers import registry

LATE = "Not reranked: the reranking model takes too long."
FAILED = "Not reranked: the reranking model failed."

_pool = ThreadPoolExecutor(8, thread_name_prefix="reranking")


def rerank_scores(query: str, texts: Sequence[str]) -> tuple[list[float] | None, str | None]:
    """How well each text answers the query, 0 to 1. None without a model and where it gave none in time; the second
    says why, in a sentence, where that may change. That a model is missing the log said at the start."""
    settings = get_settings()
    if not settings.rerank_model or not query.strip() or len(texts) < 2:
        return None, None
    deadline = time.monotonic() + settings.rerank_wait_s

    def score() -> list[float] | None:
        model = registry.reranker()
        return None if model is None else model.score(query, texts, lambda: time.monotonic() > deadline)

    future = _pool.submit(score)
    try:
        scores = future.result(settings.rerank_wait_s)
    except TooLate:
        future.cancel()
        scores = None
    except ModelUnavailable as error:
        log.debug("not reranked", reason=error.detail)
        return None, None
    except Exception:  # a library that trips over a text must not take the search along
        log.exception("not reranked")
        return None, FAILED
    return scores, LATE if scores is None else None
