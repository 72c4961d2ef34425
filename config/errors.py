"""Error words: what went wrong, and what the machine should do about it.

BackchannelError            code, HTTP status, retryable
├── BadRequest              400  malformed
├── Unauthorized            401  not signed in
├── Forbidden               403  not allowed
├── NotFound                404  unknown, or not yours
│   └── ChatNotFound             what a share link led to
├── Conflict                409  the state of the thing forbids it
├── TooLarge                413
├── WrongMedia              415
├── Unusable                422  well formed, but no usable value
│   ├── PromptTooLong
│   └── UnreadableImport
├── QueueFull               429  Retry-After
├── TooManyRequests         429  one caller, too often; Retry-After
│   └── QuotaUsedUp              the day's tokens
├── Blocked                 502  a host shows a page to people only
├── FormatChanged           502  a page was read and not understood
├── ProviderRefused         502  a provider will not do it, however often it is asked
├── Unavailable             503  retryable: a part is not there right now; Retry-After says when to come back
│   ├── ModelUnavailable
│   ├── ProviderUnavailable
│   └── WorkerLost
├── HubAway                 503  a person is told and asks again; what is here serves meanwhile
├── DeadlineExceeded        504  not done when it had to be
└── NoSpace                 507  the disk is too small for it
"""

from __future__ import annotations

from typing import Any, ClassVar


class BackchannelError(Exception):
    """`detail` is one sentence for a person; it never holds a path, a secret or a stack trace."""

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self, detail: str, *, headers: dict[str, str] | None = None, errors: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.errors = errors or []

    def as_json(self) -> dict[str, Any]:
        """The shape a failed job's `error` and an `error` event have."""
        return {"code": self.code, "message": self.detail, "retryable": self.retryable}


class BadRequest(BackchannelError):
    code = "bad_request"
    title = "Bad request"
    status = 400


class Unauthorized(BackchannelError):
    code = "unauthorized"
    title = "Not signed in"
    status = 401


class Forbidden(BackchannelError):
    code = "forbidden"
    title = "Not allowed"
    status = 403


class NotFound(BackchannelError):
    code = "not_found"
    title = "Not found"
    status = 404


class ChatNotFound(NotFound):
    code = "chat_not_found"


class Conflict(BackchannelError):
    code = "conflict"
    title = "Conflict"
    status = 409


class TooLarge(BackchannelError):
    code = "too_large"
    title = "Too large"
    status = 413


class WrongMedia(BackchannelError):
    code = "unsupported_media_type"
    title = "Unsupported media type"
    status = 415


class Unusable(BackchannelError):
    code = "unprocessable"
    title = "Unusable value"
    status = 422


class PromptTooLong(Unusable):
    code = "prompt_too_long"
    title = "Prompt too long"


class UnreadableImport(Unusable):
    code = "unreadable_import"
    title = "Unreadable import"


class QueueFull(BackchannelError):
    code = "queue_full"
    title = "Queue full"
    status = 429
    retryable = True


class TooManyRequests(BackchannelError):
    code = "too_many_requests"
    title = "Too many requests"
    status = 429
    retryable = True


class QuotaUsedUp(TooManyRequests):
    code = "quota_used_up"
    title = "Quota used up"


class Blocked(BackchannelError):
    code = "blocked"
    title = "Blocked"
    status = 502


class FormatChanged(BackchannelError):
    code = "format_changed"
    title = "Format changed"
    status = 502


class ProviderRefused(BackchannelError):
    code = "provider_refused"
    title = "Refused by the provider"
    status = 502


class Unavailable(BackchannelError):
    code = "unavailable"
    title = "Unavailable"
    status = 503
    retryable = True


class ModelUnavailable(Unavailable):
    code = "model_unavailable"
    title = "Model unavailable"


class ProviderUnavailable(Unavailable):
    code = "provider_unavailable"
    title = "Provider unavailable"


class WorkerLost(Unavailable):
    code = "worker_lost"
    title = "Worker lost"


class HubAway(BackchannelError):
    code = "hub_away"
    title = "Hub away"
    status = 503


class DeadlineExceeded(BackchannelError):
    code = "deadline_exceeded"
    title = "Deadline exceeded"
    status = 504


class NoSpace(BackchannelError):
    code = "insufficient_storage"
    title = "Insufficient storage"
    status = 507


def status_of(code: str) -> int | None:
    """The HTTP status of an error that is only known by its code, as a failed job keeps it."""
    waiting: list[type[BackchannelError]] = [BackchannelError]
    while waiting:
        word = waiting.pop(0)
        if word.code == code:
            return word.status
        waiting += word.__subclasses__()
    return None
