"""What a model may do while it talks about a draft: change it, and have it made a project.

An effect and the note that it was done are one transaction, so that no later attempt does it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from config.errors import BackchannelError
from config.settings import get_settings
from storage import drafts
from storage.database import reading
from tasks.checkpoints import Checkpoint
from tasks.draft_material import open_conversation
from tasks.drafts import tell_update
from tasks.projects import make_project, tell_lock
from tasks.run import JobRun
from workers import linear
from workers.ports import Tool

UPDATE, CREATE = "update_project_draft", "create_linear_project"
# What a call's result is kept as: (words for the model, failed) → what goes into the checkpoint.
Record = Callable[[str, bool], dict[str, Any]]

_MAX_DESCRIPTION = 100_000
_Description = Annotated[str, StringConstraints(min_length=1, max_length=_MAX_DESCRIPTION)]


class _DraftArguments(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, str_strip_whitespace=True)
    title: Annotated[str, StringConstraints(min_length=1, max_length=drafts.MAX_TITLE_CHARS)]
    description: _Description


class _ProjectArguments(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, str_strip_whitespace=True)
    title: Annotated[str, StringConstraints(min_length=1, max_length=linear.MAX_NAME_CHARS)]
    description: _Description


def _tool(name: str, what: str) -> Tool:
    """Lengths stand in words: strict schemas know none."""
    properties = {
        "title": {"type": "string", "description": f"At most {linear.MAX_NAME_CHARS} characters."},
        "description": {"type": "string", "description": "The whole description, in Markdown."},
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": ["title", "description"],
        "additionalProperties": False,
    }
    return Tool(name, what, schema)


_UPDATE = _tool(UPDATE, "Replaces the title and the description of the project draft; earlier versions are kept.")
_CREATE = _tool(
    CREATE, "Creates the project in Linear and locks the conversation: the draft cannot be changed any more."
)


class Toolbox:
    def __init__(self, run: JobRun, kept: Checkpoint, model_name: str) -> None:
        self._run, self._kept, self._model_name = run, kept, model_name

    def tools(self) -> tuple[Tool, ...]:
        """What can be done now: nothing of it once there is a project."""
        if "project" in self._kept.values:
            return ()
        return (_UPDATE, _CREATE) if linear.is_configured(get_settings()) else (_UPDATE,)

    def call(self, name: str, arguments: dict[str, Any], record: Record) -> None:
        """Does it and keeps the result. What goes wrong is a result, too, told to the model and to the person."""
        self._run.emit("status", status="calling_tool", tool=name)
        try:
            self._do(name, arguments, record)
        except (BackchannelError, ValidationError) as error:
            words = _in_words(error) if isinstance(error, ValidationError) else error.detail
            with self._kept.keep(**record(f"It failed: {words}", True)):
                pass
            self._run.emit("status", status="tool_failed", tool=name, message=words)
        else:
            self.tell(name)

    def _do(self, name: str, arguments: dict[str, Any], record: Record) -> None:
        if name == UPDATE:
            draft = _DraftArguments.model_validate(arguments)
            self._update(draft.title, draft.description, record)
        elif name == CREATE:
            project = _ProjectArguments.model_validate(arguments)
            make_project(
                self._run,
                self._kept,
                " ".join(project.title.split()),
                project.description,
                lambda made: record(f"The project was created: {made['linear_url']}", False),
            )
        else:
            raise _Unknown(f"There is no tool {name[:64]!r}.")

    def _update(self, title: str, description: str, record: Record) -> None:
        with self._kept.keep(**record("The draft was changed.", False)) as session:
            conversation = open_conversation(session, self._run, lock=True)
            drafts.add_version(
                session,
                conversation,
                " ".join(title.split()),
                description,
                by=self._run.owner_id,
                model=self._model_name,
                job_id=self._run.id,
            )

    def tell(self, name: str) -> None:
        """The event of what was done; told once, also where the attempt that did it died in between."""
        if name == UPDATE:
            with reading() as session:
                draft = drafts.find(session, self._run.input["conversation_id"])
                told = drafts.as_json(session, draft) if draft is not None else None
            if told is not None:
                tell_update(self._run, told)
        else:
            tell_lock(self._run)


class _Unknown(BackchannelError):
    """A tool that nobody offered."""


def without_nul(value: Any) -> Any:
    """JSON as PostgreSQL can hold it."""
    match value:
        case str():
            return value.replace("\0", "")
        case list():
            return [without_nul(one) for one in value]
        case dict():
            return {without_nul(name): without_nul(one) for name, one in value.items()}
    return value


def _in_words(error: ValidationError) -> str:
    problems = [
        f"{'.'.join(map(str, problem['loc'])) or 'the arguments'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    ]
    return f"The arguments cannot be used: {'; '.join(problems[:5])[:500]}."
