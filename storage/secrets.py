"""The secret that signs what leaves this house and comes back: SECRET_KEY, or one made up at the first need."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from config.settings import get_settings
from storage.ids import new_id

_LENGTH = 32  # bytes; what the digests below hold


def app_secret() -> bytes:
    """SECRET_KEY, or what DATA_DIR/secret-key holds. Every process of the same DATA_DIR gets the same one."""
    given = get_settings().secret_key.get_secret_value()
    return given.encode() if given else _kept()


def sign(purpose: str, message: str) -> str:
    """64 hexadecimal digits. A signature of one purpose says nothing for another."""
    key = hmac.digest(app_secret(), purpose.encode(), hashlib.sha256)
    return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()


def is_signed(purpose: str, message: str, signature: str) -> bool:
    return hmac.compare_digest(sign(purpose, message).encode(), signature.encode(errors="replace"))


def _kept() -> bytes:
    path = get_settings().data_dir / "secret-key"
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}-{new_id()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_LENGTH).hex().encode())
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # whole or not at all, and only where no other process was quicker
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return _read(path)


def _read(path: Path) -> bytes:
    return bytes.fromhex(path.read_text().strip())
