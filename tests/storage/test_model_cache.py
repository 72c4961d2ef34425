"""What models keep of conversations goes with what was said."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from storage import messages, model_cache
from storage.database import transaction
from tests import factories


@pytest.fixture
def folder(settings: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return tmp_path / "data" / "model-cache"


def keep(folder: Path, name: str, *, later_s: float = 0) -> Path:
    path = folder / "model" / "identity" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"what was said")
    os.utime(path, (time.time() + later_s,) * 2)
    return path


def test_nothing_is_asked_before_anything_was_deleted(folder: Path) -> None:
    kept = keep(folder, "1.state")
    assert model_cache.forgotten_at() == 0
    model_cache.clean_up()
    assert kept.exists()


def test_files_go_at_once_and_each_time_is_another(folder: Path) -> None:
    kept, other = keep(folder, "1.state"), keep(folder, "readme")
    model_cache.forget()
    assert not kept.exists()
    assert other.exists()
    first = model_cache.forgotten_at()
    assert first > 0
    os.utime(folder.parent / "model-cache.forgotten", (1, 1))
    model_cache.forget()
    assert model_cache.forgotten_at() >= first


def test_what_a_dying_worker_left_goes_at_the_next_start(folder: Path) -> None:
    """It wrote after the files were removed and died before its heartbeat; what came long after is another's."""
    model_cache.forget()
    left, later = keep(folder, "1.state", later_s=5), keep(folder, "2.state", later_s=3600)
    model_cache.clean_up()
    assert not left.exists()
    assert later.exists()


@pytest.mark.usefixtures("sqlite")
def test_a_rollback_forgets_nothing(folder: Path) -> None:
    conversation_id = factories.conversation()
    factories.question(conversation_id)
    kept = keep(folder, "1.state")
    with suppress(KeyError), transaction() as session:
        messages.clear(session, conversation_id)
        raise KeyError
    assert kept.exists()
    assert model_cache.forgotten_at() == 0
    with transaction() as session:
        assert messages.clear(session, conversation_id) == 1
    assert not kept.exists()


def test_a_folder_that_cannot_be_written_stops_no_deletion(folder: Path) -> None:
    folder.parent.parent.mkdir(exist_ok=True)
    folder.parent.write_bytes(b"a file where the folder should be")
    model_cache.forget()
    assert model_cache.forgotten_at() == 0
