"""Everything a worker can do: importing this module registers all tasks and the signals around them."""

from tasks import chats, embeddings, imports, models, noop, search, summaries, upkeep, webhooks, worker

__all__ = ["chats", "embeddings", "imports", "models", "noop", "search", "summaries", "upkeep", "webhooks", "worker"]
