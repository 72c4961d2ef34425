"""Request bodies. Unknown fields are refused, not swallowed."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from api.errors import in_words
from config.catalogue import full_name
from config.errors import Unusable
from config.queues import DEFAULT_PRIORITY, KINDS, MAX_PRIORITY, MIN_PRIORITY, Kind
from config.settings import get_settings
from config.share_links import parse_link

# Far beyond any listing, and what a database's integer holds.
MAX_OFFSET = 2**53
# How deep JSON may be nested is the encoder's limit (254) less what we put around it.
_SPARE_DEPTH = 54
MAX_BIASES = 300
MAX_LOGPROB_TOKENS = 4096
MAX_DEADLINE_S = 86_400
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

T = TypeVar("T")


def encodable(value: T) -> T:
    """JSON that can be written down again: no number beyond 64 bits, not nested without end."""
    _encode(value)
    return value


def storable(value: T) -> T:
    """`encodable`, and no NUL, which PostgreSQL holds in no text."""
    if _NUL.search(_encode(value)):
        raise ValueError("must not hold NUL characters")
    return value


def _encode(value: object) -> bytes:
    for _ in range(_SPARE_DEPTH):
        value = [value]
    try:
        return orjson.dumps(value)
    except TypeError:
        raise ValueError("is nested too deeply or holds a number beyond 64 bits") from None


Storable = AfterValidator(storable)
PRIORITY = "9 is most urgent; chats of 0 and 1 give way to all others inside the model, too"
TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,7}$")]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ResponseFormat(Body):
    """A JSON schema the answer must fit, any JSON object, or a GBNF grammar."""

    type: Literal["json_schema", "json_object", "grammar"]
    json_schema: Annotated[dict[str, Any] | None, Storable] = Field(default=None, alias="schema")
    grammar: Annotated[str | None, Storable] = Field(default=None, max_length=65_536)

    @model_validator(mode="after")
    def _complete(self) -> ResponseFormat:
        if (self.json_schema is not None, self.grammar is not None) != (
            self.type == "json_schema",
            self.type == "grammar",
        ):
            raise ValueError("a json_schema has a schema, a grammar has a grammar, a json_object has neither")
        return self


class ChatOptions(Body):
    """What chat takes on every surface that has it, the message itself aside."""

    session_id: str | None = Field(default=None, description="A conversation; default: your current session")
    model: Annotated[str | None, Storable] = Field(default=None, max_length=200)
    use_rag: bool = Field(default=True, description="Answer with passages found in your conversations")
    system: Annotated[str | None, Storable] = Field(default=None, max_length=100_000)
    temperature: float | None = Field(default=None, ge=0, le=5)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0, le=1000)
    min_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    stop: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=200), Storable]], Field(max_length=16)] | None
    ) = None
    response_format: ResponseFormat | None = None
    repeat_penalty: float | None = Field(default=None, gt=0, le=2, description="1 is none; local models")
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: (
        Annotated[dict[TokenId, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=MAX_BIASES)] | None
    ) = Field(default=None, description="By the model's own token ids, as `logprobs` tells them; -100 forbids one")
    logprobs: int | None = Field(default=None, ge=0, le=20, description="Alternatives told with each token")
    deadline_s: float | None = Field(
        default=None, gt=0, le=MAX_DEADLINE_S, description="Seconds from now until the answer must be complete"
    )
    cache: bool | None = Field(
        default=None, description="Tell an earlier answer to the very same request again; default: at temperature 0"
    )
    emotion: bool | None = Field(default=None, description="Tell the emotion of the message with its answer")
    cancel_on_disconnect: bool = False

    def options(self) -> ChatOptions:
        """These alone, without the message, whatever a surface calls it."""
        return ChatOptions.model_construct(**{name: getattr(self, name) for name in ChatOptions.model_fields})

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("logprobs")
    @classmethod
    def _tellable(cls, value: int | None, info: ValidationInfo) -> int | None:
        """What is told about each token is kept with the job, so there is a bound to it."""
        if value is not None and (info.data.get("max_tokens") or 0) > MAX_LOGPROB_TOKENS:
            raise ValueError(f"only with max_tokens of at most {MAX_LOGPROB_TOKENS}")
        return value


class ChatIn(ChatOptions):
    message: str = Field(min_length=1)

    @field_validator("message")
    @classmethod
    def _usable(cls, value: str) -> str:
        return usable_text(value)


class TextChatIn(ChatOptions):
    """ClarityMentor's word for it."""

    text: str = Field(min_length=1)
    emotion: bool | None = Field(default=True, description="Tell the emotion of the text with its answer")

    @field_validator("text")
    @classmethod
    def _usable(cls, value: str) -> str:
        return usable_text(value)


class PromptIn(ChatOptions):
    """PocketLLM's word for it."""

    prompt: str = Field(min_length=1)

    @field_validator("prompt")
    @classmethod
    def _usable(cls, value: str) -> str:
        return usable_text(value)


class ImportIn(Body):
    """What a share link shows, or an upload by reference, as POST /api/imports stores it."""

    url: str | None = Field(default=None, max_length=2000, description="A link to a shared conversation")
    blob: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    filename: str = Field(default="", max_length=500)
    duplicates: Literal["update_existing", "create_new"] = "update_existing"
    target_conversation_id: str | None = Field(default=None, max_length=36, description="Which one a link updates")

    @model_validator(mode="after")
    def _one_of_both(self) -> ImportIn:
        if (self.url is None) == (self.blob is None):
            raise ValueError("needs either a url or a blob")
        if self.url is not None:
            try:
                self.url = parse_link(self.url).url
            except Unusable as error:
                raise ValueError(error.detail) from None
        return self


class EmbedIn(Body):
    """Embed what changed."""

    rebuild: bool = Field(default=False, description="Everything anew; the old index serves until the new one is done")


class SummaryOptions(Body):
    model: Annotated[str | None, Storable] = Field(default=None, max_length=200)
    replace_edited: bool = Field(default=False, description="Also where a person has written the summary")


class SummarizeIn(SummaryOptions):
    conversation_id: str = Field(max_length=36)


class SummaryIn(Body):
    """A person's own words."""

    summary: str = Field(min_length=1)

    @field_validator("summary")
    @classmethod
    def _usable(cls, value: str) -> str:
        return usable_text(value)


class DraftOptions(Body):
    """`llm_model` and `llm_provider` are the seed's names for the model."""

    model: Annotated[str | None, Storable] = Field(default=None, max_length=200)
    llm_model: Annotated[str | None, Storable] = Field(default=None, max_length=200)
    llm_provider: Annotated[str | None, Storable] = Field(default=None, max_length=100)
    accept_summarization: bool = Field(default=False, description="Where the conversation is too long for the model")

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        self.model = one_model(self.model, self.llm_model, self.llm_provider)
        return self


class DraftIn(DraftOptions):
    conversation_id: str = Field(max_length=36)


class DraftChatOptions(Body):
    """What is said about a draft."""

    message: str = Field(min_length=1)
    model: Annotated[str | None, Storable] = Field(default=None, max_length=200)
    llm_model: Annotated[str | None, Storable] = Field(default=None, max_length=200)
    llm_provider: Annotated[str | None, Storable] = Field(default=None, max_length=100)
    attachment_ids: list[Annotated[str, Field(max_length=36)]] = Field(
        default=[], max_length=20, description="Files of this conversation that go with the message"
    )

    @field_validator("message")
    @classmethod
    def _usable(cls, value: str) -> str:
        return usable_text(value)

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        self.model = one_model(self.model, self.llm_model, self.llm_provider)
        return self


class DraftChatIn(DraftChatOptions):
    conversation_id: str = Field(max_length=36)


class ProjectOptions(Body):
    """What is not said is the draft's."""

    title: str | None = Field(default=None, min_length=1)
    description: str | None = Field(default=None, min_length=1)

    @field_validator("title", "description")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        return None if value is None else usable_text(value)


class ProjectIn(ProjectOptions):
    conversation_id: str = Field(max_length=36)


class PullIn(Body):
    """A GGUF file on the hub: owner/repository, with `:Q4_K_M` or `/file.gguf` behind it; empty: the default."""

    model: str = Field(default="", max_length=300, pattern=r"^(?:[\w.\-]+/[\w.\-]+(?:[:/@][\w.\-/]+)*)?$")


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


class SearchIn(Body):
    query: str = Field(min_length=1, max_length=2000)
    n_results: int = Field(default=5, ge=1, le=100)


def one_model(model: str | None, llm_model: str | None, llm_provider: str | None) -> str | None:
    """The one name of the model that was named in either way."""
    if model is not None and llm_model is not None:
        raise ValueError("name the model once: model or llm_model")
    if llm_provider and not llm_model:
        raise ValueError("an llm_provider needs an llm_model")
    if llm_model and llm_provider:
        return full_name(llm_provider, llm_model.removeprefix(f"{llm_provider}/"))
    return model or llm_model or None


def usable_text(value: str) -> str:
    """Text a database and a model can hold: no NUL, no lone surrogates, not blank, not endless."""
    limit = get_settings().max_message_chars
    if len(value) > limit:
        raise ValueError(f"at most {limit} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a surrogate pair, which is no character") from None
    value = value.replace("\0", "")
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def parse_input(kind: Kind, value: dict[str, Any]) -> Body:
    """The input of a job of this kind. Raises Unusable with one entry per bad field."""
    return _parsed(INPUTS[kind], value, "The job's input holds values that cannot be used.", ("input",))


B = TypeVar("B", bound=Body)


def parse_body(shape: type[B], value: Any) -> B:
    """A body that a handler reads itself. Raises Unusable with one entry per bad field."""
    return _parsed(shape, value, "The body holds values that cannot be used.", ())


def _parsed(shape: type[B], value: Any, problem: str, inside: tuple[str, ...]) -> B:
    from pydantic import ValidationError

    try:
        return shape.model_validate(value)
    except ValidationError as error:
        problems = [
            {"field": ".".join([*inside, *map(str, item["loc"])]), "message": in_words(item["msg"])}
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise Unusable(problem, errors=problems) from None
