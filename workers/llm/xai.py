"""Grok, at xAI: Chat Completions by OpenAI's SDK. Its thoughts (`reasoning_content`) are not shown."""

from __future__ import annotations

from config.catalogue import ModelSpec, ProviderSpec
from config.settings import Settings
from workers.llm.openai import OPTIONAL, OpenAIModel
from workers.llm.openai_chat import Dialect

# An error where the model thinks; others leave logit_bias unread.
_NOT_WHILE_THINKING = {"stop", "frequency_penalty", "presence_penalty", "logit_bias"}


def open_model(provider: ProviderSpec, spec: ModelSpec, settings: Settings) -> XaiModel:
    return XaiModel(provider, spec, settings)


class XaiModel(OpenAIModel):
    readable = ("image/jpeg", "image/png", "text/")

    def dialect(self) -> Dialect:
        return Dialect(OPTIONAL - (_NOT_WHILE_THINKING if self.thinks else {"logit_bias"}))
