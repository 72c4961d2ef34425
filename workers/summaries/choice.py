"""Who summarises: the model that was named, an external service where one is configured, or what is there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from config.catalogue import EXTRACTIVE
from config.settings import get_settings
from workers import registry
from workers.llm.extractive import ExtractiveAnswerer
from workers.ports import Summarizer
from workers.summaries.extractive import ExtractiveSummarizer
from workers.summaries.metacognition import MetacognitionSummarizer
from workers.summaries.written import WrittenSummarizer

OnWait = Callable[[str, float | None], None]


def summarizer(
    name: str | None, default: str | None, on_wait: OnWait | None = None, instruction: str | None = None
) -> Summarizer:
    """The summariser of this name. Without one: the external service when it is configured, else the model `default`
    (None: the registry's own default), told `instruction` in place of ours. `on_wait` and errors as
    `registry.language_model` has them."""
    settings = get_settings()
    if name is None and settings.metacognition_api_url:
        return MetacognitionSummarizer.from_settings(settings)
    with registry.language_model(name or default, on_wait) as model:
        if isinstance(model, ExtractiveAnswerer) or model.provider == EXTRACTIVE:
            return ExtractiveSummarizer(getattr(model, "problem", None))
        # By its full name from here on: the default may become another model in the middle of a long conversation.
        use = partial(registry.language_model, f"{model.provider}/{model.name}", on_wait)
        return WrittenSummarizer(model, use, instruction)
