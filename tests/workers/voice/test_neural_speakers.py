"""Piper and Kokoro in their child process, by voices of the right shape that nobody trained."""

from __future__ import annotations

import importlib.util
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest

from config.errors import Unusable
from tests.onnx_model import make_kokoro_voice, make_piper_voice
from workers.voice.ports import Samples
from workers.voice.speaker import ChildSpeaker, load_speaker

TEXT = "Hello there, how are you?"


def say(speaker: ChildSpeaker, text: str, voice: str | None = None, speed: float = 1.0) -> Samples:
    return np.concatenate([np.zeros(0, np.int16), *speaker.speak(text, voice, speed)])


class TestPiper:
    @pytest.fixture(scope="class")
    def piper(self, tmp_path_factory: pytest.TempPathFactory) -> ChildSpeaker:
        pytest.importorskip("piper")
        pytest.importorskip("onnxruntime")
        folder = tmp_path_factory.mktemp("speaker").joinpath(*["a-name-of-thirty-characters-30"] * 6)
        folder.mkdir(parents=True)
        make_piper_voice(folder / "tiny.onnx")
        with closing(load_speaker(folder)) as speaker:
            yield speaker

    def test_it_is_taken_where_its_weights_lie(self, piper: ChildSpeaker) -> None:
        assert (piper.name, piper.sample_rate, piper.voices) == ("piper/tiny", 16_000, ("tiny",))

    def test_it_speaks_a_sentence_at_a_time(self, piper: ChildSpeaker) -> None:
        pieces = list(piper.speak("One sentence. And another one."))
        assert len(pieces) == 2
        assert all(len(piece) % 256 == 0 and len(piece) > 256 * 10 for piece in pieces)
        assert np.abs(pieces[0].astype(int)).max() > 20_000

    def test_speed(self, piper: ChildSpeaker) -> None:
        usual = len(say(piper, TEXT))
        assert len(say(piper, TEXT, "tiny", 2.0)) == usual / 2
        assert len(say(piper, TEXT, "tiny", 0.5)) == usual * 2

    def test_phonemes_in_brackets_are_no_command(self, piper: ChildSpeaker) -> None:
        """They would be three of 256 samples, with a begin, an end and what is put between."""
        assert len(say(piper, "[[xyz]]")) > 9 * 256

    @pytest.mark.parametrize("text", ["", "😀", "...", "<speak>", "\ud800", "今天天气很好。"])
    def test_whatever_is_said(self, piper: ChildSpeaker, text: str) -> None:
        pids = piper.pids
        say(piper, text)
        assert piper.pids == pids

    def test_closed_early_the_next_is_spoken(self, piper: ChildSpeaker) -> None:
        pids = piper.pids
        with closing(piper.speak("One sentence. " * 200)) as spoken:
            next(spoken)
        assert len(say(piper, TEXT))
        assert piper.pids == pids

    def test_killed_it_goes_on(self, piper: ChildSpeaker) -> None:
        (pid,) = piper.pids
        assert pid is not None
        usual = len(say(piper, TEXT))
        psutil.Process(pid).kill()
        assert len(say(piper, TEXT)) == usual

    def test_a_model_of_several_voices(self, tmp_path: Path) -> None:
        pytest.importorskip("piper")
        make_piper_voice(tmp_path / "many.onnx", speakers=["ann", "bob"])
        with closing(load_speaker(tmp_path, "piper", 2)) as speaker:
            assert speaker.voices == ("ann", "bob")
            assert len(set(speaker.pids)) == 2
            assert len(say(speaker, TEXT, "bob"))
            with pytest.raises(Unusable):
                speaker.speak(TEXT, "many")


@pytest.mark.skipif(importlib.util.find_spec("kokoro_onnx") is None, reason="kokoro-onnx is not installed")
def test_kokoro(tmp_path: Path) -> None:
    make_kokoro_voice(tmp_path, ["zf_one", "af_two", "bm_three"])
    make_piper_voice(tmp_path / "tiny.onnx")
    with closing(load_speaker(tmp_path)) as speaker:
        assert (speaker.name, speaker.sample_rate) == ("kokoro/kokoro-v1.0", 24_000)
        assert speaker.voices == ("af_two", "bm_three", "zf_one")
        usual, fast = len(say(speaker, TEXT)), len(say(speaker, TEXT, "bm_three", 2.0))
        assert 1.5 < usual / fast < 2.5
        say(speaker, "😀 [[x]] \ud800")
