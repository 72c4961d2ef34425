"""Which files of a repository make up a part of the voice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import BackchannelError, NotFound, Unusable
from config.settings import Settings
from config.voice_models import PARTS, VOICE, wanted
from workers.hub.choice import HubFile, Reference
from workers.hub.folders import FolderReference, choose_files, parse_folder


def chosen(part: str, text: str, *paths: str) -> list[str]:
    files = [HubFile(path, 100, "0" * 64) for path in paths]
    return [file.path for file in choose_files(part, parse_folder(text), files).files]


WHISPER = [".gitattributes", "README.md", "config.json", "model.bin", "tokenizer.json", "vocabulary.txt"]
LESSAC = [f"en/en_US/lessac/{name}" for name in (
    "medium/MODEL_CARD", "medium/en_US-lessac-medium.onnx", "medium/en_US-lessac-medium.onnx.json",
    "low/en_US-lessac-low.onnx", "low/en_US-lessac-low.onnx.json",
)]  # fmt: skip
ROBERTA = ["README.md", "config.json", "merges.txt", "pytorch_model.bin", "special_tokens_map.json", "tf_model.h5",
           "tokenizer.json", "tokenizer_config.json", "training_args.bin", "vocab.json"]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("o/r", FolderReference(Reference("o/r"), "")),
        (" o/r/a/b_c ", FolderReference(Reference("o/r"), "a/b_c")),
        ("o/r/a@v1.0", FolderReference(Reference("o/r", "v1.0"), "a")),
    ],
)
def test_references(text: str, reference: FolderReference) -> None:
    assert parse_folder(text) == reference


@pytest.mark.parametrize(
    "text", ["", "o", "o/", "o//r", "../r", "o/r/../x", "o/r/./x", "o/r@a@b", "https://h/o/r", "o/r a", "o/r:x"]
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(Unusable):
        parse_folder(text)


def test_what_is_usually_pulled() -> None:
    references = wanted(Settings(), VOICE)
    assert tuple(references) == PARTS
    assert chosen("transcriber", references["transcriber"], *WHISPER) == [
        "model.bin", "config.json", "tokenizer.json", "vocabulary.txt",
    ]  # fmt: skip
    assert chosen("speaker", references["speaker"], *LESSAC) == LESSAC[1:3]
    assert chosen("emotion", references["emotion"], *ROBERTA) == [
        "pytorch_model.bin", "config.json", "tokenizer.json", "merges.txt", "special_tokens_map.json",
        "tokenizer_config.json", "vocab.json",
    ]  # fmt: skip


def test_one_part_is_meant_by_its_name() -> None:
    assert wanted(Settings(), "voice:speaker") == {"speaker": "rhasspy/piper-voices/en/en_US/lessac/medium"}
    for other in ("", "voices", "voice:", "voice:none", "o/voice"):
        assert wanted(Settings(), other) == {}


def test_safetensors_are_better_than_a_pickle() -> None:
    assert chosen("emotion", "o/r", *ROBERTA, "model.safetensors")[0] == "model.safetensors"
    assert "pytorch_model.bin" not in chosen("emotion", "o/r", *ROBERTA, "model.safetensors")


def test_a_kokoro_voice_and_an_older_transcriber() -> None:
    assert chosen("speaker", "o/r", "kokoro-v1.0.onnx", "voices-v1.0.bin", "config.json") == [
        "kokoro-v1.0.onnx", "voices-v1.0.bin",
    ]  # fmt: skip
    assert chosen("transcriber", "o/r", "model.bin", "config.json", "vocabulary.json")[-1] == "vocabulary.json"


def test_a_folder_of_many_voices_is_none() -> None:
    with pytest.raises(Unusable, match=r"several models in that folder: a\.onnx, b\.onnx"):
        chosen("speaker", "o/r", "a.onnx", "a.onnx.json", "b.onnx", "b.onnx.json")
    with pytest.raises(NotFound, match=r"rhasspy/piper-voices on the hub is no speaker"):
        chosen("speaker", "rhasspy/piper-voices", *LESSAC)


@pytest.mark.parametrize(
    ("part", "word"),
    [("transcriber", "model.bin"), ("speaker", r"\*\.onnx"), ("emotion", "model.safetensors or pytorch")],
)
def test_what_is_missing_is_told(part: str, word: str) -> None:
    for paths in ([], ["README.md"], ["model.bin"], ["x.onnx"], ["model.safetensors", "config.json"]):
        with pytest.raises(NotFound, match=word):
            chosen(part, "o/r", *paths)


@given(
    st.sampled_from(PARTS),
    st.lists(st.sampled_from([*WHISPER, *ROBERTA, "x.onnx", "x.onnx.json"]) | st.text(max_size=30), max_size=12),
    st.sampled_from(["", "../", "a/", "/", ".", "-"]),
)
def test_whatever_a_hub_tells_the_files_lie_in_our_folder(part: str, paths: list[str], before: str) -> None:
    try:
        found = choose_files(part, parse_folder("o/r"), [HubFile(before + path, 1, "0" * 64) for path in paths])
    except BackchannelError:
        return
    for file in found.files:
        assert file.path == file.saved_as == file.name
        assert not file.name.startswith((".", "-"))
        assert file.name.isascii()
        assert file.name.isprintable()
