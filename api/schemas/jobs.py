"""Jobs: what each kind takes, and one as it is submitted."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, AnyHttpUrl, Field, model_validator

from api.schemas.base import Body, Storable, encodable, parsed
from api.schemas.chats import ChatIn
from api.schemas.drafts import DraftChatIn, DraftIn, ProjectIn
from api.schemas.imports import ImportIn
from api.schemas.speech import SpeakIn
from api.schemas.summaries import SummarizeIn
from config.queues import DEFAULT_PRIORITY, KINDS, MAX_PRIORITY, MIN_PRIORITY, Kind

PRIORITY = "9 is most urgent; chats of 0 and 1 give way to all others inside the model, too"


class EmbedIn(Body):
    """Embed what changed."""

    rebuild: bool = Field(default=False, description="Everything anew; the old index serves until the new one is done")


class PullIn(Body):
    """A GGUF file on the hub: owner/repository, with `:Q4_K_M` or `/file.gguf` behind it; empty: the default. `voice`:
    the models of the voice, `voice:transcriber`, `voice:speaker` or `voice:emotion` one of them."""

    model: str = Field(
        default="",
        max_length=300,
        pattern=r"^(?:[\w.\-]+/[\w.\-]+(?:[:/@][\w.\-/]+)*|voice(?::(?:transcriber|speaker|emotion))?)?$",
    )


class NoopIn(Body):
    echo: Annotated[Any, Storable] = None


# Kinds a client may submit.
INPUTS: dict[Kind, type[Body]] = {
    Kind.CHAT: ChatIn,
    Kind.IMPORT: ImportIn,
    Kind.SUMMARIZE: SummarizeIn,
    Kind.DRAFT: DraftIn,
    Kind.DRAFT_CHAT: DraftChatIn,
    Kind.PROJECT: ProjectIn,
    Kind.EMBED: EmbedIn,
    Kind.PULL: PullIn,
    Kind.SPEAK: SpeakIn,
    Kind.NOOP: NoopIn,
}


class JobIn(Body):
    kind: Kind
    input: Annotated[dict[str, Any], AfterValidator(encodable)] = Field(default_factory=dict)
    priority: int = Field(default=DEFAULT_PRIORITY, ge=MIN_PRIORITY, le=MAX_PRIORITY, description=PRIORITY)
    webhook_url: AnyHttpUrl | None = None

    @model_validator(mode="after")
    def _submittable(self) -> JobIn:
        if not KINDS[self.kind].clients_may_submit:
            raise ValueError(f"Jobs of kind {self.kind.value} are made by the system.")
        return self


def parse_input(kind: Kind, value: dict[str, Any]) -> Body:
    """The input of a job of this kind. Raises Unusable with one entry per bad field."""
    return parsed(INPUTS[kind], value, "The job's input holds values that cannot be used.", ("input",))
