from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest

from config.errors import Unavailable, Unusable
from tests.workers.notifiers.conftest import Receiver
from workers.notifiers import webhook


def test_what_is_posted_is_signed_over_id_time_and_body(receiver: Receiver) -> None:
    assert webhook.post(receiver.url, "job-1", {"type": "job.succeeded", "text": "schön"}, "s3cret") == 204
    headers, body = receiver.got[0]
    assert json.loads(body) == {"type": "job.succeeded", "text": "schön"}
    assert headers["webhook-id"] == "job-1"
    signed = f"job-1.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(b"s3cret", signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_without_a_secret_nothing_is_signed(receiver: Receiver) -> None:
    webhook.post(receiver.url, "job-1", {}, "")
    assert "webhook-signature" not in receiver.got[0][0]


@pytest.mark.parametrize("status", [500, 503, 408, 429])
def test_what_may_pass_is_worth_another_try(receiver: Receiver, status: int) -> None:
    receiver.answers = [status]
    with pytest.raises(Unavailable, match=str(status)):
        webhook.post(receiver.url, "job-1", {}, "")


@pytest.mark.parametrize("status", [302, 400, 404, 410])
def test_a_refusal_is_final_and_redirects_are_not_followed(receiver: Receiver, status: int) -> None:
    receiver.answers = [status]
    with pytest.raises(Unusable, match=str(status)):
        webhook.post(receiver.url, "job-1", {}, "")
    assert len(receiver.got) == 1


def test_nobody_there() -> None:
    with pytest.raises(Unavailable):
        webhook.post("http://127.0.0.1:1/hook", "job-1", {}, "")
