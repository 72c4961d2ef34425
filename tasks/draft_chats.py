"""Kind `draft_chat`: a talk about a draft, in which the model may change it or have it made a project.

    say ──calls──▶ kept ──▶ done one by one, each kept with its effect ──▶ say … ──no calls──▶ the answer

An attempt that follows a dead one finds what was called and what came of it, and goes on there.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from config.catalogue import EXTRACTIVE
from config.errors import Conflict
from config.prompts import PROJECT_DRAFT_CHAT
from config.queues import Kind
from storage import conversations, drafts, messages, prompts, summaries, usage
from storage.database import Session, reading
from storage.ids import new_id
from storage.project_tables import FileAttachment
from storage.tables import Conversation, Message
from tasks import attachments
from tasks.answering import PROMPT_MARGIN, chat_class, waiting
from tasks.base import job
from tasks.checkpoints import Checkpoint
from tasks.draft_material import turns_of
from tasks.draft_tools import Toolbox, without_nul
from tasks.embeddings import request_embedding
from tasks.run import JobRun, Outcome
from workers import registry
from workers.drafts import talk as words
from workers.llm.prompt import fit_history
from workers.ports import (
    ChatMessage,
    ChatRequest,
    Completion,
    Delta,
    LanguageModel,
    Passage,
    Sampling,
    Tool,
    ToolCall,
    Turn,
)

# Rounds of calls before the model has to say something.
MAX_ROUNDS = 4
MAX_CALLS = 4  # of one round
ANSWER_TOKENS = 4000  # a call holds the whole description
TOOLS_MARGIN = 200  # the words around tools, in tokens
_TEMPERATURE = 0.3
_MAX_PASSAGES = 200


@dataclass(frozen=True, slots=True)
class Material:
    conversation: Conversation
    question: Message
    history: list[Message]
    files: list[FileAttachment]
    turns: tuple[Turn, ...]
    summary: str | None
    draft: tuple[str, str] | None
    instruction: str


@job(Kind.DRAFT_CHAT)
def reply(run: JobRun) -> Outcome:
    started, kept = time.monotonic(), Checkpoint(run)
    run.emit("status", status="analyzing_request")
    material = _load(run, kept)
    run.restore_text()
    with registry.language_model(run.input.get("model"), waiting(run)) as model:
        talk = _Talk(run, kept, model, material)
        completion = talk.answer()
    return _outcome(run, kept, material, model.name, completion, round((time.monotonic() - started) * 1000))


def _load(run: JobRun, kept: Checkpoint) -> Material:
    with reading() as session:
        conversation = conversations.find(session, run.input["conversation_id"], run.owner_id)
        question = messages.get(session, run.input["message_id"])
        if conversation is None or question is None:
            raise Conflict("The question was deleted before it was answered.")
        if conversation.is_locked and "project" not in kept.values:
            raise Conflict("This conversation is locked.")
        draft = drafts.find(session, conversation.id)
        now = drafts.active(session, draft) if draft is not None else None
        summary = summaries.find(session, conversation.id)
        found = [session.get(FileAttachment, file_id) for file_id in run.input.get("attachment_ids", ())]
        return Material(
            conversation,
            question,
            messages.before(session, question),
            [file for file in found if file is not None],
            turns_of(session, conversation.id),
            summary.text if summary is not None else None,
            (now.title, now.description) if now is not None else None,
            prompts.active(session, PROJECT_DRAFT_CHAT),
        )


class _Talk:
    """`rounds` in the checkpoint: what was said before each round of calls, the calls, and what came of them."""

    def __init__(self, run: JobRun, kept: Checkpoint, model: LanguageModel, material: Material) -> None:
        self._run, self._kept, self._model, self._material = run, kept, model, material
        self._toolbox = Toolbox(run, kept, model.name)
        self._max_tokens = min(ANSWER_TOKENS, model.context_tokens // 3)

    @property
    def _rounds(self) -> list[dict[str, Any]]:
        rounds: list[dict[str, Any]] = self._kept.values.get("rounds", [])
        return rounds

    def answer(self) -> Completion:
        self._catch_up()
        while True:
            completion = self._say()
            if not completion.tool_calls or len(self._rounds) >= MAX_ROUNDS:
                return completion
            self._open_round(completion)
            self._do_calls()

    # --- saying

    def _say(self) -> Completion:
        """One answer of the model, shown as it comes; gone on with where an attempt that died stopped."""
        run, model, traffic = self._run, self._model, self._traffic()
        offered: tuple[Tool, ...] = ()
        if "tools" in model.abilities and len(self._rounds) < MAX_ROUNDS:
            offered = self._toolbox.tools()
        request = ChatRequest(
            (*self._messages(self._tokens_of(traffic, offered)), *traffic),
            self._passages(),
            Sampling(temperature=_TEMPERATURE, max_tokens=self._max_tokens),
            resume_text=run.text[len(self._said_before()) :],
            owner=run.owner_id,
            job_id=run.id,
            work_class=chat_class(run),
            tools=offered,
        )
        run.emit("status", status="generating_response", model=model.name)
        completion: Completion | None = None
        for item in model.stream(request, run.should_stop):
            if isinstance(item, Delta):
                run.content(item.text.replace("\0", ""))  # PostgreSQL holds none
            else:
                completion = item
            run.check()
        assert completion is not None, "a stream ends with its completion"
        return completion

    def _tokens_of(self, traffic: list[ChatMessage], offered: tuple[Tool, ...]) -> int:
        """What calls, results and tools take of the window."""
        written = [asdict(message) for message in traffic] + [asdict(tool) for tool in offered]
        told = [orjson.dumps(one).decode() for one in written]
        return sum(map(self._model.count_tokens, told)) + (TOOLS_MARGIN if told else 0)

    def _messages(self, taken: int) -> tuple[ChatMessage, ...]:
        """The instructions with the draft and the conversation, and as much of the talk as fits beside them and what is
        `taken` of the window."""
        material, count = self._material, self._model.count_tokens
        room = self._model.context_tokens - self._max_tokens - taken - PROMPT_MARGIN
        prompt = attachments.Prompt(self._run, self._model, room // 2)
        question = prompt.with_files(ChatMessage("user", material.question.content), material.files)
        fixed = words.system(material.instruction, material.draft)
        room -= prompt.shown_tokens
        left = room - count(fixed) - count(question.content)
        conversation = words.conversation(material.turns, material.summary, count, max(0, left // 2))
        said = [
            ChatMessage("user" if message.role == "user" else "assistant", message.content)
            for message in material.history[:-1]
            if message.role in ("user", "assistant") and message.content
        ]
        system = ChatMessage("system", f"{fixed}\n\n{conversation}" if conversation else fixed)
        fitted, dropped = fit_history([system, *said, question], count, room)
        if dropped and not self._rounds:
            self._run.emit("status", status="history_shortened", dropped_messages=dropped)
        return fitted

    def _passages(self) -> tuple[Passage, ...]:
        """For the answerer without a model, which quotes what was said."""
        if self._model.provider != EXTRACTIVE:
            return ()
        conversation = self._material.conversation
        said = self._material.turns[-_MAX_PASSAGES:]
        return tuple(Passage(turn.content, conversation.id, conversation.title, None, 0.0) for turn in said)

    # --- calls

    def _traffic(self) -> list[ChatMessage]:
        """This answer's earlier rounds, as the model's protocol wants them."""
        found: list[ChatMessage] = []
        for one in self._rounds:
            calls = tuple(ToolCall(call["id"], call["name"], call["arguments"]) for call in one["calls"])
            found.append(ChatMessage("assistant", one["said"].strip(), tool_calls=calls))
            found += [ChatMessage("tool", call["result"], tool_call_id=call["id"]) for call in one["calls"]]
        return found

    def _open_round(self, completion: Completion) -> None:
        """What is called is kept before anything of it is done."""
        before = len(self._said_before())
        if self._run.text[before:].strip():
            self._run.content("\n\n")  # between what is said before and after
        calls = [
            {"result": None, "failed": False, **without_nul(asdict(call))} for call in completion.tool_calls[:MAX_CALLS]
        ]
        spent = [completion.prompt_tokens, completion.completion_tokens]
        new = {"said": self._run.text[before:], "calls": calls, "spent": spent}
        with self._kept.keep(rounds=[*self._rounds, new]):
            pass

    def _do_calls(self) -> None:
        for place, call in enumerate(self._rounds[-1]["calls"] if self._rounds else ()):
            if call["result"] is None:
                self._run.check()
                self._toolbox.call(
                    call["name"], call["arguments"], lambda *done, at=place: self._with_result(at, *done)
                )

    def _with_result(self, place: int, result: str, failed: bool) -> dict[str, Any]:
        """The rounds as they are once this call of the last one is done."""
        *earlier, last = self._rounds
        calls = list(last["calls"])
        calls[place] = calls[place] | {"result": result, "failed": failed}
        return {"rounds": [*earlier, last | {"calls": calls}]}

    def _said_before(self) -> str:
        return "".join(one["said"] for one in self._rounds)

    def _catch_up(self) -> None:
        """After an attempt that died: what its log lost is said again, what it did is told, what it left is done."""
        said = self._said_before()
        if said.startswith(self._run.text) and len(said) > len(self._run.text):
            self._run.content(said[len(self._run.text) :])
        for one in self._rounds:
            for call in one["calls"]:
                if call["result"] is not None and not call["failed"]:
                    self._toolbox.tell(call["name"])
        self._do_calls()


def _outcome(
    run: JobRun, kept: Checkpoint, material: Material, model_name: str, completion: Completion, ms: int
) -> Outcome:
    rounds: list[dict[str, Any]] = kept.values.get("rounds", [])
    answer_id, content = new_id(), run.text.strip()
    prompt_tokens = completion.prompt_tokens + sum(one["spent"][0] for one in rounds)
    completion_tokens = completion.completion_tokens + sum(one["spent"][1] for one in rounds)
    with reading() as session:
        draft = drafts.find(session, material.conversation.id)
        told = drafts.as_json(session, draft) if draft is not None else None
    result = {
        "message_id": answer_id,
        "chat_id": material.question.conversation_id,
        "conversation_id": material.conversation.id,
        "content": content,
        "model": model_name,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "response_ms": ms,
        "tool_calls": [call for one in rounds for call in one["calls"]],
        "project_draft": told,
        "project": kept.values.get("project"),
        "conversation_locked": "project" in kept.values,
    }

    def effect(session: Session) -> None:
        messages.add_answer(
            session,
            material.question,
            content,
            message_id=answer_id,
            model=model_name,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            response_ms=ms,
            job_id=run.id,
            parts={"tool_rounds": [{"said": one["said"], "calls": one["calls"]} for one in rounds]} if rounds else {},
        )
        conversations.touch(session, material.question.conversation_id)
        request_embedding(session, run.owner_id)
        usage.add(session, run.owner_id, prompt_tokens, completion_tokens)

    return Outcome(result, effect)
