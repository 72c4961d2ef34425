"""What every provider's adapter shares: checks before anything is sent, and the words for what goes wrong.

An adapter is a subclass with two methods: `_open` starts one stream, `_translate` puts the SDK's errors into our words.
The rest is beside it: `tries.py` (retries, going on after a cut), `reader.py` and `wire.py` (streams that can be left,
connections that can be hung up), `seam.py` (nothing said twice, stop strings) and `trouble.py`. Keys stay inside the
SDK's client; no message of ours repeats what a provider wrote, but for its own error sentence.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from config.catalogue import ModelSpec, ProviderSpec
from config.errors import BackchannelError, PromptTooLong, ProviderRefused, Unusable
from config.settings import MIB, Settings
from workers.llm.prompt import TOKENS_PER_MESSAGE, with_passages
from workers.llm.reader import Item, Opened
from workers.llm.tries import Tries
from workers.llm.trouble import TryAgain, asked_pause_s, key_refused, retry_after_s, sentence
from workers.ports import ChatMessage, ChatRequest, LanguageModel

__all__ = ["Item", "Opened", "RemoteModel", "TryAgain", "asked_pause_s", "looks_at", "retry_after_s", "sentence"]

# Nobody tells how many tokens a picture is before it is sent; a large one costs about this many.
ATTACHMENT_TOKENS = 1600
# The one instruction that makes a model without prefill go on in the middle of its answer.
GO_ON = (
    "Your last answer was cut off by the network. Go on exactly where it stops, in the middle of the word if need be. "
    "Repeat nothing, explain nothing, apologise for nothing."
)


class RemoteModel(ABC):
    can_prefill = False  # an answer's beginning may be sent as the last message, and is continued
    # Room that thinking is given beside the answer's `max_tokens`, where the provider counts both together.
    thinking_tokens = 0
    # Beginnings of the MIME types it can be sent, and the most bytes of one file.
    readable: tuple[str, ...] = ("image/jpeg", "image/png", "image/gif", "image/webp", "application/pdf")
    max_file_bytes = 20 * MIB

    def __init__(self, provider: ProviderSpec, spec: ModelSpec, settings: Settings) -> None:
        self.spec = spec
        self.name = spec.id
        self.provider = provider.id
        self.label = provider.label
        self.context_tokens = spec.context_tokens
        self.abilities = spec.abilities
        self.max_retries = settings.provider_max_retries
        self.max_wait_s = settings.provider_max_wait_s
        self._provider = provider

    # --- what an adapter does

    @abstractmethod
    def _open(self, request: ChatRequest) -> Opened:
        """One stream (a `wire.Line`): on entering the request is sent, the iterator yields deltas and one Completion
        (counts that nobody told are 0), leaving closes the connection, also from another thread and also twice. An
        iterator that ends without a Completion was cut. `request.messages` are final: passages are in them, and so is
        what was said before a cut; `max_tokens` fits the model and its window."""

    @abstractmethod
    def _translate(self, error: Exception) -> BackchannelError | TryAgain | None:
        """An SDK's error in our words; None for one that is not the provider's."""

    # --- LanguageModel

    def count_tokens(self, text: str) -> int:
        """An estimate from above: 3 bytes of UTF-8 are rarely more than one token, in any script."""
        return math.ceil(len(text.encode("utf-8", "replace")) / 3)

    def stream(self, request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Item]:
        request = replace(request, messages=with_passages(request.messages, request.passages), passages=())
        self._check(request)
        yield from Tries(self, request, cancelled).run()

    def looks_at(self, mime_type: str, size: int) -> bool:
        """Whether a file of so many bytes can go with a message."""
        ability = "pdf" if mime_type == "application/pdf" else "vision"
        return ability in self.abilities and mime_type.startswith(self.readable) and size <= self.max_file_bytes

    # --- checks

    def _check(self, request: ChatRequest) -> None:
        """Raises PromptTooLong, Unusable, ProviderRefused: before anything is sent, and paid for."""
        key = self._provider.key.get_secret_value()
        if not key.isascii() or not key.isprintable():  # no HTTP header can carry it
            raise self.key_refused()
        match request.sampling.response_format:
            case None | {"type": "json_object" | "grammar"} | {"type": "json_schema", "schema": dict()}:
                pass
            case _:
                raise Unusable("response_format must be a json_schema with a schema, or a json_object.")
        for ability, wanted in self._wanted(request).items():
            if wanted and ability not in self.abilities:
                raise Unusable(f"The model {self.name} cannot do that: it has no {_ABILITY_WORDS[ability]}.")
        for kind in _kinds(request):
            if not kind.startswith(self.readable):
                raise Unusable(f"The model {self.name} cannot read files of the type {kind}.")
        needed = self.needed_tokens(request)
        if needed >= self.context_tokens:
            raise PromptTooLong(
                f"The prompt has about {needed} tokens; the model {self.name} reads {self.context_tokens} together "
                "with its answer."
            )

    def needed_tokens(self, request: ChatRequest) -> int:
        """What the prompt takes of the window, estimated from above."""
        try:
            described = [json.dumps([tool.name, tool.description, tool.parameters]) for tool in request.tools]
            if request.sampling.response_format:
                described.append(json.dumps(request.sampling.response_format))
        except RecursionError as error:
            raise Unusable("A JSON schema is nested too deeply.") from error
        return sum(map(self.count_tokens, described)) + sum(map(self._message_tokens, request.messages))

    def _message_tokens(self, message: ChatMessage) -> int:
        calls = sum(self.count_tokens(json.dumps(call.arguments)) + TOKENS_PER_MESSAGE for call in message.tool_calls)
        texts = (one for one in message.attachments if one.mime_type.startswith("text/"))
        files = ATTACHMENT_TOKENS * len(message.attachments) + sum(len(one.data) // 3 for one in texts)
        return self.count_tokens(message.content) + TOKENS_PER_MESSAGE + calls + files

    def _wanted(self, request: ChatRequest) -> dict[str, bool]:
        kinds = _kinds(request)
        form = (request.sampling.response_format or {}).get("type")
        return {
            "tools": bool(request.tools),
            "pdf": "application/pdf" in kinds,
            "vision": any(kind.startswith("image/") for kind in kinds),
            "grammar": form == "grammar",
            "json_schema": form in ("json_schema", "json_object"),
        }

    def continued(self, messages: Sequence[ChatMessage], said: str) -> tuple[ChatMessage, ...]:
        """The messages with which an answer is asked for that goes on after `said`."""
        if not said.strip():
            return tuple(messages)
        if self.can_prefill:  # white space at the end of a prefill is refused, and comes back by itself
            return (*messages, ChatMessage("assistant", said.rstrip()))
        return (*messages, ChatMessage("assistant", said), ChatMessage("user", GO_ON))

    # --- what goes wrong

    def key_refused(self) -> ProviderRefused:
        return key_refused(self._provider)

    def understood(self, error: Exception) -> Exception:
        """Any error of a stream in our words, and without the key; one that is not the provider's as it is."""
        ours = error if isinstance(error, BackchannelError | TryAgain) else self._translate(error)
        if ours is None and isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
            ours = TryAgain("A part of the answer could not be read.")
        key = self._provider.key.get_secret_value()
        if not ours or not key or key not in str(ours):
            return ours or error
        words = str(ours).replace(key, "…")
        if isinstance(ours, TryAgain):
            return TryAgain(words, ours.after_s)
        return type(ours)(words, headers=ours.headers, errors=ours.errors)


def looks_at(model: LanguageModel, mime_type: str, size: int) -> bool:
    """Whether a picture or a PDF of so many bytes can go with a message to this model."""
    return isinstance(model, RemoteModel) and mime_type.startswith(_LOOKED_AT) and model.looks_at(mime_type, size)


_LOOKED_AT = ("image/", "application/pdf")
_ABILITY_WORDS = {
    "tools": "tools",
    "pdf": "reader for PDF documents",
    "vision": "eyes for pictures",
    "grammar": "grammars",
    "json_schema": "JSON schemas",
}


def _kinds(request: ChatRequest) -> set[str]:
    return {attachment.mime_type for message in request.messages for attachment in message.attachments}
