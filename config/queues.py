"""Job kinds, the queues that carry them and the workers that serve those queues: one table, read by all rooms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a job does. The value is what clients say."""

    CHAT = "chat"
    IMPORT = "import"
    SUMMARIZE = "summarize"
    DRAFT = "draft"
    DRAFT_CHAT = "draft_chat"
    PROJECT = "project"
    EMBED = "embed"
    EXTRACT = "extract"
    PULL = "pull"
    VOICE = "voice"
    VOICE_REPLY = "voice_reply"
    TRANSCRIBE = "transcribe"
    SPEAK = "speak"
    WORKSPACE = "workspace"
    WEBHOOK = "webhook"
    NOOP = "noop"


@dataclass(frozen=True, slots=True)
class KindSpec:
    """Where a kind runs and how it fails.

    `max_failures`: lost workers and retryable errors before the job is dead-lettered. `clients_may_submit`: accepted by
    POST /api/jobs. `at_once`: how many one worker does beside each other, None for as many as it has slots: long work
    that shares a worker with short work must not take every slot. `leaves_free`: the same, said as the slots that it
    leaves to others.
    """

    queue: str
    task: str
    max_failures: int = 4
    clients_may_submit: bool = True
    at_once: int | None = None
    leaves_free: int = 0


KINDS: dict[Kind, KindSpec] = {
    Kind.CHAT: KindSpec("chat", "chat.reply", leaves_free=12),  # for drafts, summaries and those who speak
    Kind.VOICE: KindSpec("voice", "voice.turn", max_failures=8, clients_may_submit=False),
    Kind.VOICE_REPLY: KindSpec("chat", "voice.reply", clients_may_submit=False),
    Kind.TRANSCRIBE: KindSpec("speech", "voice.transcribe", clients_may_submit=False, at_once=1),
    Kind.SPEAK: KindSpec("speech", "voice.speak", at_once=2),
    Kind.IMPORT: KindSpec("import", "import.run", max_failures=8),
    Kind.SUMMARIZE: KindSpec("summarize", "summarize.run", at_once=4),
    Kind.DRAFT: KindSpec("draft", "drafts.write", at_once=4),
    Kind.DRAFT_CHAT: KindSpec("chat", "drafts.reply"),
    Kind.PROJECT: KindSpec("project", "projects.create"),
    Kind.EMBED: KindSpec("embed", "embed.run", max_failures=8),
    Kind.EXTRACT: KindSpec("extract", "files.extract", max_failures=8, clients_may_submit=False, at_once=2),
    Kind.PULL: KindSpec("pull", "models.pull", max_failures=8),
    Kind.WORKSPACE: KindSpec("import", "workspace.index", max_failures=8, clients_may_submit=False),
    Kind.WEBHOOK: KindSpec("webhook", "webhook.post", max_failures=8, clients_may_submit=False),
    Kind.NOOP: KindSpec("noop", "noop.run"),
}

# Worker name → queues it consumes. The first word of a line in the Procfile is the worker's name.
WORKERS: dict[str, tuple[str, ...]] = {
    "generate": ("chat", "draft", "summarize", "upkeep"),
    "index": ("embed",),  # and enquiries: `storage.enquiries`
    "voice": ("voice", "speech"),
    "background": ("import", "project", "extract", "pull", "webhook", "noop", "upkeep"),
}


def expected_workers(*, voice: bool) -> list[str]:
    """Those that have to run; `voice`: VOICE_ENABLED."""
    return [name for name in WORKERS if voice or name != "voice"]


UPKEEP_QUEUE = "upkeep"

# Priority as clients say it: 0 (whenever) to 9 (now).
MIN_PRIORITY, DEFAULT_PRIORITY, MAX_PRIORITY = 0, 5, 9


def worker_of(queue: str) -> str:
    """The worker that serves `queue`."""
    return next(name for name, queues in WORKERS.items() if queue in queues)
