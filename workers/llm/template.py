"""From messages to the prompt a model was trained on: its own chat template, and what to do when that refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from config.errors import Unusable
from workers.llm.library import llama_cpp
from workers.ports import ChatMessage

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class ChatTemplate:
    def __init__(self, template: str | None, *, bos: str, eos: str, control: Iterable[str]) -> None:
        """`control`: spellings the tokenizer turns into control tokens, such as the end of a message."""
        self._format = llama_cpp.llama_chat_format.Jinja2ChatFormatter(
            template=template or CHATML, bos_token=bos, eos_token=eos
        )
        self._control = sorted((text for text in control if len(text) > 1), key=len, reverse=True)

    def render(self, messages: Sequence[ChatMessage]) -> str:
        """The prompt up to where the answer begins. Raises Unusable when the template takes the messages in no form."""
        harmless = [replace(message, content=self.disarm(message.content)) for message in messages]
        problem: Exception | None = None
        for form in _FORMS:
            try:
                said = [{"role": message.role, "content": message.content} for message in form(harmless)]
                return str(self._format(messages=said).prompt)  # type: ignore[arg-type]  # plain dicts are what it reads
            except Exception as error:  # a template may raise anything; what it says is meant for people
                problem = problem or error
        raise Unusable(f"The model's chat template refuses this conversation: {problem}") from problem

    def disarm(self, text: str) -> str:
        """The text with control tokens' spellings broken by an invisible character: what somebody wrote, or what was
        imported, must not be able to end its message and begin one of the system."""
        for spelling in self._control:
            if spelling in text:
                text = text.replace(spelling, f"{spelling[0]}\u2060{spelling[1:]}")
        return text


def _as_is(messages: list[ChatMessage]) -> list[ChatMessage]:
    return messages


def _alternating(messages: list[ChatMessage]) -> list[ChatMessage]:
    """One system message in front, tool results said by the user, neighbours of one role joined, the user first."""
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    said: list[ChatMessage] = []
    for message in messages:
        role = "user" if message.role == "tool" else message.role
        if role == "system":
            continue
        if not said and role == "assistant":
            said.append(ChatMessage("user", "…"))
        if said and said[-1].role == role:
            said[-1] = replace(said[-1], content=f"{said[-1].content}\n\n{message.content}")
        else:
            said.append(ChatMessage(role, message.content))
    return [ChatMessage("system", system), *said] if system else said


def _without_system(messages: list[ChatMessage]) -> list[ChatMessage]:
    """For templates that know no system role: its text begins the first user message."""
    said = _alternating(messages)
    if not said or said[0].role != "system":
        return said
    system, *rest = said
    if rest:
        return [ChatMessage("user", f"{system.content}\n\n{rest[0].content}"), *rest[1:]]
    return [ChatMessage("user", system.content)]


_FORMS: tuple[Callable[[list[ChatMessage]], list[ChatMessage]], ...] = (_as_is, _alternating, _without_system)
