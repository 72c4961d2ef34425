"""What can go wrong between a command and the server, each in a sentence for a person."""

from __future__ import annotations

import click
import httpx


class ClientError(click.ClickException):
    """One sentence for a person. `code` is the server's word for it, `status` its HTTP status (0: no answer came)."""

    def __init__(self, sentence: str, code: str, status: int = 0, retry_after_s: float = 0) -> None:
        super().__init__(sentence)
        self.code, self.status, self.retry_after_s = code, status, retry_after_s

    @property
    def may_pass(self) -> bool:
        """Whether the same request can succeed a moment later."""
        return self.code == "unreachable" or self.status in (429, 502, 503, 504)


def problem(address: str, response: httpx.Response) -> ClientError:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("detail"), str):
        sentence = f"{address} answered {response.status_code} without saying why; is it Backchannel?"
        return ClientError(sentence, "no_problem", response.status_code)
    sentence = body["detail"]
    fields = [f"{item.get('field')}: {item.get('message')}" for item in body.get("errors", [])]
    if fields:
        sentence = f"{sentence.rstrip('.')} ({'; '.join(fields)})."
    if response.status_code == 401:
        sentence = f"{sentence} Give --api-key or set BACKCHANNEL_API_KEY."
    wait = response.headers.get("retry-after", "")
    return ClientError(
        sentence, str(body.get("code", "")), response.status_code, float(wait) if wait.isdecimal() else 0
    )


def broken(address: str, error: httpx.HTTPError) -> ClientError:
    # Never the error's own words: for a bad header they quote the API key.
    if "CERTIFICATE" in str(error):
        return ClientError(f"The certificate of {address} is not trusted.", "untrusted")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        remedy = "start it with `backchannel up` or name another by --url"
        sentence = f"Backchannel does not answer at {address}; {remedy}."
    elif isinstance(error, httpx.TimeoutException):
        sentence = f"Backchannel at {address} did not answer in time."
    else:
        sentence = f"The connection to {address} broke."
    return ClientError(sentence, "unreachable")


def stranger(address: str) -> ClientError:
    return ClientError(f"What answers at {address} does not speak as Backchannel does.", "stranger")
