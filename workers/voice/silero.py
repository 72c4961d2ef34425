"""Silero's voice activity by its .onnx file alone: importing its package sets torch to one thread for the process."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.errors import ModelUnavailable
from workers.voice.ports import HEARING_RATE, Samples

_BEFORE = 64  # samples of the window before, which the model wants to see again


class SileroVoiceActivity:
    name = "silero"
    window_samples = 512

    def __init__(self) -> None:
        """Raises ModelUnavailable."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._session: Any = onnxruntime.InferenceSession(
            str(_weights()), sess_options=options, providers=["CPUExecutionProvider"]
        )

    def stream(self) -> SileroStream:
        return SileroStream(self._session)


class SileroStream:
    def __init__(self, session: Any) -> None:
        self._session = session
        self.reset()

    def reset(self) -> None:
        self._state: NDArray[np.float32] = np.zeros((2, 1, 128), np.float32)
        self._input: NDArray[np.float32] = np.zeros((1, _BEFORE + SileroVoiceActivity.window_samples), np.float32)

    def probability(self, window: Samples) -> float:
        self._input[0, :_BEFORE] = self._input[0, -_BEFORE:]
        self._input[0, _BEFORE:] = window / np.float32(32768)
        given = {"input": self._input, "state": self._state, "sr": np.array(HEARING_RATE, np.int64)}
        output, self._state = self._session.run(None, given)
        return float(output[0, 0])


def _weights() -> Path:
    found = importlib.util.find_spec("silero_vad")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        weights = Path(folder) / "data" / "silero_vad.onnx"
        if weights.is_file():
            return weights
    raise ModelUnavailable("The package silero-vad, which tells speech from silence, is not installed.")
