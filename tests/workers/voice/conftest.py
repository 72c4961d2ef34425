"""What takes a second to load is loaded once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workers.voice.silero import SileroVoiceActivity
from workers.voice.sphinx import SphinxTranscriber


@pytest.fixture(scope="session")
def sphinx() -> Iterator[SphinxTranscriber]:
    transcriber = SphinxTranscriber(2)
    yield transcriber
    transcriber.close()


@pytest.fixture(scope="session")
def silero() -> SileroVoiceActivity:
    return SileroVoiceActivity()
