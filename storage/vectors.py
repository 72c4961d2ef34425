"""The vector index: one Chroma collection per embedding model, cosine distance."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray

from config.errors import Unavailable
from config.settings import get_settings
from storage import kept_connection

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection as ChromaCollection

# Chroma refuses batches of more than some thousands, and answers no query while it adds one, a millisecond per vector:
# small ones where somebody searches, which cost three times as much. Not above 256 for who is the first to search.
BATCH, GENTLE_BATCH = 256, 16
SEARCHING_S = 30.0  # so long after a query of this process there may be another
DELETE_BATCH = 2000
QUERY_S = 30.0  # who asked has given up by then; the thread that waits is needed again
NOT_FOUND = 404
# Twice the neighbours and effort of Chroma's defaults: with those, passages among many near copies are lost to the
# graph (5 to 8 of 20 in our trials, now 0 to 4). It costs half a millisecond per vector, a tenth of embedding it.
HNSW: Any = {"space": "cosine", "max_neighbors": 32, "ef_construction": 200, "ef_search": 200}

_lock = threading.Lock()
_client: tuple[str, ClientAPI] | None = None
_queried_at = -math.inf
_collections: dict[tuple[str, str], ChromaCollection] = {}  # by server and name: asking for one is a round trip


def server_url() -> str:
    """Where Chroma answers: CHROMA_URL, or the port the private one wrote down. Raises Unavailable."""
    settings = get_settings()
    if settings.chroma_url:
        return settings.chroma_url.rstrip("/")
    try:
        return f"http://127.0.0.1:{int((settings.run_dir / 'chroma.port').read_text())}"
    except (OSError, ValueError):
        raise Unavailable("The vector index is not running.") from None


def is_alive(timeout_s: float = 2.0) -> bool:
    try:
        return httpx.get(f"{server_url()}/api/v2/heartbeat", timeout=timeout_s, trust_env=False).is_success
    except (httpx.HTTPError, Unavailable):
        return False


def count_collections(timeout_s: float = 2.0) -> int | None:
    """None where Chroma is away."""
    path = "api/v2/tenants/default_tenant/databases/default_database/collections_count"
    try:
        return int(httpx.get(f"{server_url()}/{path}", timeout=timeout_s, trust_env=False).raise_for_status().text)
    except (httpx.HTTPError, Unavailable, ValueError):
        return None


def prepare() -> None:
    """Import Chroma's client and connect, which takes a second or two, before the first search has to. Raises
    Unavailable."""
    _connect()


def _connect() -> ClientAPI:
    global _client  # noqa: PLW0603
    url = server_url()
    with _lock:
        if _client is None or _client[0] != url:
            import chromadb
            from chromadb.config import Settings as ChromaSettings

            parts = urlsplit(url)
            options = ChromaSettings(anonymized_telemetry=False)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            try:
                client = chromadb.HttpClient(
                    host=parts.hostname or "", port=port, ssl=parts.scheme == "https", settings=options
                )
            except Exception as error:
                raise Unavailable("The vector index cannot be reached.") from error
            _client = (url, client)
        return _client[1]


class VectorIndex:
    """Vectors of one index, as `storage.indexes` names it. Raises Unavailable when Chroma is away."""

    def __init__(self, index: str) -> None:
        self.name = "chunks-" + hashlib.sha256(index.encode()).hexdigest()[:24]
        self._index = index

    def _collection(self, *, known: bool = False) -> ChromaCollection:
        """`known`: one that was seen before will do; it may be gone since."""
        key = (server_url(), self.name)
        if not known or key not in _collections:
            _collections[key] = _connect().get_or_create_collection(
                self.name,
                configuration={"hnsw": HNSW},
                metadata={"index": self._index},
                embedding_function=None,
            )
        return _collections[key]

    def upsert(self, ids: Sequence[str], vectors: NDArray[np.float32], metadatas: Sequence[dict[str, Any]]) -> None:
        """Idempotent by id; vectors of shape (len(ids), dimension)."""
        with _translated():
            collection, start = self._collection(), 0
            while start < len(ids):
                end = start + (GENTLE_BATCH if time.monotonic() - _queried_at < SEARCHING_S else BATCH)
                collection.upsert(
                    ids=list(ids[start:end]), embeddings=vectors[start:end], metadatas=list(metadatas[start:end])
                )
                start = end

    def delete(self, ids: Collection[str]) -> None:
        """Harmless where they, or the whole collection, are not there."""
        from chromadb.errors import NotFoundError

        with _translated():
            try:
                collection = _connect().get_collection(self.name, embedding_function=None)
            except NotFoundError:
                return
            listed = list(ids)
            for start in range(0, len(listed), DELETE_BATCH):
                collection.delete(ids=listed[start : start + DELETE_BATCH])

    def query(
        self,
        vector: NDArray[np.float32],
        limit: int,
        *,
        owner_id: str | None = None,
        within: Sequence[str] | None = None,
    ) -> list[tuple[str, float]]:
        """(chunk id, cosine similarity), best first; `within`: of these conversations only. Without `owner_id` of all
        owners, which is many times quicker: Chroma first lists every vector that a condition allows."""
        global _queried_at  # noqa: PLW0603
        _queried_at = time.monotonic()
        where: list[Any] = [] if owner_id is None else [{"owner_id": owner_id}]
        if within is not None:
            where.append({"conversation_id": {"$in": list(within)}})
        asked: Any = {"query_embeddings": vector.reshape(1, -1), "n_results": limit, "include": ["distances"]}
        if where:
            asked["where"] = where[0] if len(where) == 1 else {"$and": where}
        with _translated():
            try:
                found = self._ask(self._collection(known=True), asked)
            except kept_connection.Refused as error:
                if error.status != NOT_FOUND:
                    raise
                found = self._ask(self._collection(), asked)
            return [(id, 1.0 - distance) for id, distance in zip(found["ids"][0], found["distances"][0], strict=True)]

    @staticmethod
    def _ask(collection: ChromaCollection, asked: dict[str, Any]) -> Any:
        """Without Chroma's own client, which is as slow as the search itself."""
        path = f"/api/v2/tenants/{collection.tenant}/databases/{collection.database}/collections/{collection.id}/query"
        return kept_connection.post(server_url(), path, asked, QUERY_S)

    def drop(self) -> None:
        """The whole collection; harmless when it is not there."""
        from chromadb.errors import NotFoundError

        with _translated():
            try:
                _connect().delete_collection(self.name)
            except NotFoundError:
                pass

    def count(self) -> int:
        with _translated():
            return self._collection().count()


class _translated:  # noqa: N801 - reads as a verb at its uses
    """Chroma and its HTTP client raise many types for 'not there'; tasks retry on one."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, Unavailable):
            raise Unavailable(f"The vector index did not answer ({type(error).__name__}).") from error
