"""One secret for all processes of a DATA_DIR, made once."""

from __future__ import annotations

import stat
import subprocess
import sys

import pytest

from config.settings import get_settings, reset_settings
from storage.secrets import app_secret, is_signed, sign

pytestmark = pytest.mark.usefixtures("settings")


def test_a_secret_is_made_up_and_kept() -> None:
    first = app_secret()
    assert len(first) == 32
    assert app_secret() == first
    path = get_settings().data_dir / "secret-key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["secret-key"]


def test_processes_that_begin_at_once_have_the_same() -> None:
    command = [sys.executable, "-c", "from storage.secrets import app_secret; print(app_secret().hex())"]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    told = {process.communicate()[0] for process in started}
    assert len(told) == 1
    assert told.pop().decode().strip() == app_secret().hex()


def test_a_secret_of_ones_own(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("SECRET_KEY", "correct horse")
    reset_settings()
    assert app_secret() == b"correct horse"
    assert not get_settings().data_dir.exists()


def test_signatures_are_for_one_purpose_and_message() -> None:
    signature = sign("download", "a")
    assert is_signed("download", "a", signature)
    assert not is_signed("download", "b", signature)
    assert not is_signed("session", "a", signature)
    assert not is_signed("download", "a", signature.upper())
    assert not is_signed("download", "a", "")
    assert not is_signed("download", "a", "\ud800é")


def test_another_secret_is_another_signature(settings: pytest.MonkeyPatch) -> None:
    signature = sign("download", "a")
    settings.setenv("SECRET_KEY", "correct horse")
    reset_settings()
    assert not is_signed("download", "a", signature)
