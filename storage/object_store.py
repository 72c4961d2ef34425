"""Files in a bucket, on S3 or any server that speaks its protocol, once AWS_S3_BUCKET_NAME names one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from config.errors import ProviderRefused, Unavailable
from config.settings import MIB, Settings, get_settings

_lock = threading.Lock()
_bucket: tuple[tuple[str, ...], Bucket] | None = None

CONNECT_S, SILENCE_S, TRIES = 5.0, 30.0, 3  # a job tries again later, so one call gives up soon


class Bucket:
    """Raises Unavailable when it is away, ProviderRefused when it will not."""

    def __init__(self, settings: Settings) -> None:
        import boto3
        from botocore.config import Config

        self._name = settings.aws_s3_bucket_name
        options = Config(
            signature_version="s3v4",
            connect_timeout=CONNECT_S,
            read_timeout=SILENCE_S,
            retries={"total_max_attempts": TRIES, "mode": "standard"},
            s3={"addressing_style": "path" if settings.aws_endpoint_url else "auto"},
            # Other servers know nothing of the checksums that AWS added later.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self._client: Any = boto3.session.Session().client(
            "s3",
            region_name=settings.aws_region,
            endpoint_url=settings.aws_endpoint_url or None,
            aws_access_key_id=settings.aws_access_key_id or None,
            aws_secret_access_key=settings.aws_secret_access_key.get_secret_value() or None,
            config=options,
        )

    def put(self, key: str, path: Path, file_type: str) -> None:
        """The same key again replaces."""
        with _translated(), path.open("rb") as body:
            self._client.put_object(Bucket=self._name, Key=key, Body=body, ContentType=file_type)

    def read(self, key: str) -> Iterator[bytes]:
        """Its bytes, a piece at a time."""
        with _translated():
            body = self._client.get_object(Bucket=self._name, Key=key)["Body"]
            yield from body.iter_chunks(MIB)

    def delete(self, key: str) -> None:
        """Harmless where it is not there."""
        with _translated():
            self._client.delete_object(Bucket=self._name, Key=key)

    def url(self, key: str, filename: str, file_type: str, expires_s: int) -> str:
        """Where a browser may fetch it, as a file to be saved."""
        given = {
            "Bucket": self._name,
            "Key": key,
            "ResponseContentDisposition": disposition(filename),
            "ResponseContentType": file_type,
        }
        with _translated():
            return str(self._client.generate_presigned_url("get_object", Params=given, ExpiresIn=expires_s))


def disposition(filename: str) -> str:
    """RFC 6266: to be saved, never shown in the page."""
    plain = "".join(letter if letter.isascii() and letter not in '"\\%' else "_" for letter in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def bucket() -> Bucket | None:
    """None where files stay on this disk."""
    global _bucket  # noqa: PLW0603
    settings = get_settings()
    if not settings.aws_s3_bucket_name:
        return None
    made_of = (
        settings.aws_s3_bucket_name, settings.aws_endpoint_url, settings.aws_region, settings.aws_access_key_id,
        settings.aws_secret_access_key.get_secret_value(),
    )  # fmt: skip
    with _lock:
        if _bucket is None or _bucket[0] != made_of:
            _bucket = (made_of, Bucket(settings))
        return _bucket[1]


def require_bucket() -> Bucket:
    """For a file that lies in one. Raises Unavailable."""
    found = bucket()
    if found is None:
        raise Unavailable("The file lies in a bucket that is not configured any more.")
    return found


@contextmanager
def _translated() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code, status = error.response.get("Error", {}).get("Code", ""), _status(error)
        if status >= 500 or status == 429 or code in ("RequestTimeout", "SlowDown"):
            raise Unavailable("The object store did not answer.", headers={"Retry-After": "5"}) from error
        raise ProviderRefused(f"The object store refused ({str(code)[:60]}).") from error
    except BotoCoreError as error:
        raise Unavailable("The object store cannot be reached right now.", headers={"Retry-After": "5"}) from error


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
