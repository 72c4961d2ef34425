"""A voice of Piper's shape without weights, written by hand: each phoneme's number becomes a short wave.

Only what an ONNX file needs is written: fields of protocol buffers, by their numbers in onnx.proto.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

FLOAT, INT64 = 1, 7
_VARINT, _BYTES, _FLOAT32 = 0, 2, 5


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | _BYTES) + _varint(len(raw)) + raw


def _attribute(name: str, value: int) -> bytes:
    return _field(1, name) + _field(3, value) + _field(20, 2)


def _node(kind: str, inputs: Iterable[str], output: str, **attributes: int) -> bytes:
    raw = b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(4, kind)
    return raw + b"".join(_field(5, _attribute(name, value)) for name, value in attributes.items())


def _value(name: str, kind: int, shape: Sequence[str | int]) -> bytes:
    dims = b"".join(_field(1, _field(1, one) if isinstance(one, int) else _field(2, one)) for one in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, dims)))


def _constant(name: str, values: Sequence[int], *, scalar: bool = False) -> bytes:
    dims = b"" if scalar else _field(1, len(values))
    return dims + _field(2, INT64) + b"".join(_field(7, value) for value in values) + _field(8, name)


def _model(nodes: Sequence[bytes], inputs: Sequence[bytes], output: bytes, constants: Sequence[bytes]) -> bytes:
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, "voice")
    graph += b"".join(_field(5, one) for one in constants)
    graph += b"".join(_field(11, one) for one in inputs) + _field(12, output)
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13))


def _waves(tokens: str, length: str) -> list[bytes]:
    """Nodes from the tokens and the (float) samples of each of them, to `output`."""
    return [
        _node("Cast", [length], "samples", to=INT64),
        _node("Squeeze", ["samples"], "count"),
        _node("Range", ["zero", "count", "one"], "steps"),
        _node("Cast", ["steps"], "times", to=FLOAT),
        _node("Reshape", ["times", "row"], "time_row"),
        _node("Cast", [tokens], "numbers", to=FLOAT),
        _node("Reshape", ["numbers", "column"], "number_column"),
        _node("MatMul", ["number_column", "time_row"], "phases"),
        _node("Sin", ["phases"], "waves"),
        _node("Reshape", ["waves", "whole"], "output"),
    ]


_CONSTANTS = [
    _constant("zero", [0], scalar=True), _constant("one", [1], scalar=True), _constant("row", [1, -1]),
    _constant("column", [-1, 1]), _constant("whole", [1, 1, -1]), _constant("per_token", [256]),
    _constant("second", [1]),
]  # fmt: skip


def make_piper_voice(path: Path, *, speakers: Sequence[str] = ()) -> Path:
    """256 samples for each phoneme at speed 1, and the .json beside it."""
    nodes = [
        _node("Gather", ["scales", "second"], "length_scale"),
        _node("Cast", ["per_token"], "usual", to=FLOAT),
        _node("Mul", ["usual", "length_scale"], "length"),
        *_waves("input", "length"),
    ]
    inputs = [
        _value("input", INT64, [1, "phonemes"]),
        _value("input_lengths", INT64, [1]),
        _value("scales", FLOAT, [3]),
    ]
    if speakers:
        inputs.append(_value("sid", INT64, [1]))
    path.write_bytes(_model(nodes, inputs, _value("output", FLOAT, [1, 1, "time"]), _CONSTANTS))
    symbols = "_^$ !,.?abcdefghijklmnopqrstuvwxyzæçðŋɐɑɒɔəɚɛɜɡɪɹɾʃʊʌʒˈˌːθ"
    config = {
        "audio": {"sample_rate": 16_000},
        "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "num_symbols": len(symbols),
        "num_speakers": max(1, len(speakers)),
        "speaker_id_map": {name: number for number, name in enumerate(speakers)},
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate(symbols)},
    }
    path.with_name(f"{path.name}.json").write_text(json.dumps(config), "utf-8")
    return path


def make_kokoro_voice(folder: Path, voices: Sequence[str]) -> None:
    """300 samples for each phoneme at speed 1; every voice has the same style."""
    import numpy as np

    nodes = [
        _node("Cast", ["per_token"], "usual", to=FLOAT),
        _node("Div", ["usual", "speed"], "length"),
        *_waves("tokens", "length"),
    ]
    inputs = [_value("tokens", INT64, [1, "phonemes"]), _value("style", FLOAT, [1, 256]), _value("speed", FLOAT, [1])]
    model = _model(nodes, inputs, _value("output", FLOAT, [1, 1, "time"]), _CONSTANTS)
    (folder / "kokoro-v1.0.onnx").write_bytes(model)
    with (folder / "voices-v1.0.bin").open("wb") as out:
        np.savez(out, **{name: np.zeros((510, 1, 256), np.float32) for name in voices})  # type: ignore[arg-type]
