"""People who sign in, and how the house itself does."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from typing_extensions import TypedDict

from api.openapi.shapes import (
    Bytes,
    Count,
    Done,
    Id,
    No,
    Object,
    Operation,
    Percent,
    Seconds,
    Time,
    Yes,
    eg,
    ok,
)


class Person(TypedDict):
    id: Id
    name: Annotated[str, eg("Ana")]
    username: Annotated[str | None, eg("ana")]
    email: Annotated[str | None, eg("ana@example.org")]
    role: Annotated[Literal["user", "admin", "service"], eg("user")]
    is_active: Yes
    is_admin: No
    created_at: Time


class SignInStatus(TypedDict):
    authenticated: Yes
    user: Person | None
    auth_mode: Annotated[Literal["local", "required"], eg("required")]
    sign_in: Annotated[dict[str, str], eg({"password": "/auth/login"}, "Way → its address")]


class Token(TypedDict):
    access_token: Annotated[str, eg("eyJhbGciOiJIUzI1NiJ9.…")]
    token_type: Literal["bearer"]
    expires_in: Annotated[int, eg(3600, "Seconds")]
    user_id: Id
    username: Annotated[str | None, eg("ana")]
    is_admin: No


class Removed(Done):
    removed: Count


class AuthTest(TypedDict):
    status: Literal["ok"]
    message: Annotated[str, eg("The auth service works.")]
    authenticated: Yes


# --- the house


class Root(TypedDict):
    name: Literal["Backchannel"]
    status: Literal["running"]
    docs: Annotated[str, eg("/docs")]
    health: Annotated[str, eg("/health")]
    api: Annotated[str, eg("/openapi.json")]


class Health(TypedDict):
    status: Literal["healthy"]
    timestamp: Time


class PartHealth(TypedDict):
    state: Annotated[str, eg("ready", "loading, ready, failed, or missing: no worker has it")]
    detail: Annotated[str | None, eg(None, "Why it failed")]


class VoiceHealth(Health):
    models_loaded: Annotated[bool, eg(True, "Whether nothing is waited for")]
    models: Annotated[dict[str, PartHealth], eg({"language": {"state": "ready", "detail": None}})]


class Server(TypedDict):
    uptime: Seconds
    cpu_usage: Percent
    memory_usage: Percent
    active_sessions: Count | None
    listeners: Count


class Status(TypedDict):
    success: Literal[True]
    timestamp: Time
    status: Annotated[Literal["starting", "healthy", "degraded"], eg("healthy")]
    services: Annotated[dict[str, Any], eg({"database": {"status": "online", "kind": "sqlite"}})]
    queues: Annotated[dict[str, Any], eg({"chat": {"queued": 0, "running": 0, "limit": 1000}})]
    workers: Annotated[list[dict[str, Any]], eg([{"name": "generate", "state": "ready", "slots": 8, "busy": 0}])]
    missing_workers: Annotated[list[str], eg([])]
    models: Object
    server: Server
    workspace: Annotated[dict[str, Any], eg({"upload_folder": "blobs", "uploaded_files": 3, "folder": None})]


class SessionsCount(TypedDict):
    count: Count
    users: Count
    active: Count


class Metrics(TypedDict):
    timestamp: Time
    uptime: Seconds
    requests: Annotated[dict[str, int], eg({"total": 12, "succeeded": 12})]
    tokens: Annotated[dict[str, int], eg({"answers": 12, "prompt": 900, "completion": 2400, "total": 3300})]
    latency_ms: Annotated[dict[str, Any], eg({"chat": {"jobs": 12, "run": {"p50": 840.0}}})]
    jobs: Annotated[dict[str, dict[str, int]], eg({"chat": {"succeeded": 12}})]
    queues: Annotated[dict[str, Any], eg({"chat": {"queued": 0, "running": 0}})]
    cache: Object
    users: Count
    sessions: SessionsCount
    processes: Annotated[list[dict[str, Any]], eg([{"name": "web", "memory_bytes": 120_000_000}])]
    cpu_usage: Percent
    memory_usage: Percent
    active_connections: Count


class CacheStats(TypedDict):
    enabled: Yes
    entries: Count
    bytes: Bytes
    max_bytes: Bytes
    ttl_seconds: Annotated[float, eg(86_400)]
    hits: Count
    misses: Count
    hit_rate: Annotated[float | None, eg(0.5)]


class Flushed(Done):
    flushed: Count


OPERATIONS: dict[str, Operation] = {
    "GET /api/auth/login": Operation({302: None}, None, (409, 502), headers={"Location": "The issuer's page"}),
    "GET /api/auth/callback": Operation({302: None}, None, (401, 409, 502), headers={"Location": "Home"}),
    "GET /api/auth/me": ok(Person),
    "GET /api/auth/status": ok(SignInStatus),
    "POST /api/auth/logout": ok(Done),
    "DELETE /api/auth/cleanup": ok(Removed),
    "POST /auth/login": ok(Token, 401, sent={"username": "ana", "password": "correct horse battery staple"}),
    "GET /auth/test": ok(AuthTest),
    "GET /": ok(Root),
    "GET /health": ok(Health),
    "GET /api/health": ok(VoiceHealth),
    "GET /api/status": ok(Status),
    "GET /admin/metrics": ok(Metrics),
    "GET /admin/cache/stats": ok(CacheStats),
    "POST /admin/cache/flush": ok(Flushed),
    "GET /admin/sessions/count": ok(SessionsCount),
}
