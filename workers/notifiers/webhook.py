"""Tell somebody else's server that a job has ended, signed as the Standard Webhooks specification has it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Any

import httpx
import orjson

from config.errors import Unavailable, Unusable

TIMEOUT_S = 15.0
# Answers that a later try may change.
_RETRYABLE = frozenset({408, 425, 429})


def post(url: str, message_id: str, payload: dict[str, Any], secret: str) -> int:
    """POST JSON; returns the status. Raises Unavailable (worth retrying) or Unusable (refused for good).

    `message_id` is the same in every try, so that a receiver can tell a repetition. Redirects are not followed.
    """
    body = orjson.dumps(payload, default=str)
    headers = {"content-type": "application/json", "user-agent": "backchannel", **_signed(message_id, body, secret)}
    try:
        answer = httpx.post(
            url, content=body, headers=headers, timeout=TIMEOUT_S, follow_redirects=False, trust_env=False
        )
    except httpx.HTTPError as error:
        raise Unavailable(f"The webhook's receiver did not answer ({type(error).__name__}).") from error
    if answer.is_success:
        return answer.status_code
    words = f"The webhook's receiver answered {answer.status_code}."
    raise Unavailable(words) if answer.is_server_error or answer.status_code in _RETRYABLE else Unusable(words)


def _signed(message_id: str, body: bytes, secret: str) -> dict[str, str]:
    stamp = str(int(time.time()))
    headers = {"webhook-id": message_id, "webhook-timestamp": stamp}
    if secret:
        digest = hmac.digest(secret.encode(), f"{message_id}.{stamp}.".encode() + body, hashlib.sha256)
        headers["webhook-signature"] = "v1," + base64.b64encode(digest).decode()
    return headers
