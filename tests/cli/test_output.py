"""Words for numbers, and where a command looks for its server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cli.output import age, default_url, duration, printable
from config.settings import SettingsError, reset_settings
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8123"),
        ("::1", "http://[::1]:8123"),
        ("0.0.0.0", "http://127.0.0.1:8123"),
        ("::", "http://[::1]:8123"),
        ("box.lan", "http://box.lan:8123"),
    ],
)
def test_default_url(settings: pytest.MonkeyPatch, host: str, url: str) -> None:
    for name, value in {"HOST": host, "PORT": "8123", "AUTH_MODE": "required"}.items():
        settings.setenv(name, value)
    reset_settings()
    assert default_url() == url


def test_bad_settings_do_not_matter_when_the_server_is_named(settings: pytest.MonkeyPatch, run: Run) -> None:
    settings.setenv("PORT", "nonsense")
    reset_settings()
    assert run("jobs", "list").exit_code == 0
    settings.delenv("BACKCHANNEL_URL")
    with pytest.raises(SettingsError):
        run("jobs", "list")


def test_a_key_that_is_none(run: Run) -> None:
    result = run("jobs", "list", "--api-key", "two words")
    assert result.exit_code == 2
    assert "two words" not in result.stderr


def test_printable() -> None:
    assert printable("a\x1b[2Jb\x00\x9b\r\nc\td\ud800é🙂") == "a[2Jb\nc\tdé🙂"


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(None, "–"), (0, "0.0 s"), (59_900, "59.9 s"), (200_000, "3 min 20 s"), (7_500_000, "2 h 5 min")],
)
def test_duration(milliseconds: float | None, words: str) -> None:
    assert duration(milliseconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s ago"), (300, "5 min ago"), (7300, "2 h ago"), (2e5, "2 d ago")]
)
def test_age(seconds: float, words: str) -> None:
    assert age((datetime.now(UTC) - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")) == words
    assert age(None) == "–"
