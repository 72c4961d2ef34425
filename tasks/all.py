"""Everything a worker can do: importing this module registers all tasks and the signals around them."""

from tasks import (
    chats,
    draft_chats,
    drafts,
    embeddings,
    emotions,
    files,
    imports,
    models,
    noop,
    projects,
    search,
    summaries,
    upkeep,
    webhooks,
    worker,
    workspace,
)

__all__ = [
    "chats",
    "draft_chats",
    "drafts",
    "embeddings",
    "emotions",
    "files",
    "imports",
    "models",
    "noop",
    "projects",
    "search",
    "summaries",
    "upkeep",
    "webhooks",
    "worker",
    "workspace",
]
