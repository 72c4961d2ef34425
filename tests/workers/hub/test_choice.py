"""Which file of a repository is meant, and which names never are."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import BackchannelError, NotFound, Unusable
from workers.hub.choice import HubFile, HubModel, Reference, choose, models_in, parse

REPO = "owner/repo"


def models(*paths: str, size: int = 100) -> list[HubModel]:
    """Sizes grow from one to the next."""
    return models_in(HubFile(path, size + at, "0" * 64) for at, path in enumerate(paths))


def chosen(text: str, *paths: str) -> str:
    return choose(parse(text), models(*paths)).files[0].path


QWEN = [f"qwen2.5-1.5b-instruct-{quant}.gguf" for quant in ("fp16", "q2_k", "q4_0", "q4_k_m", "q5_0", "q5_k_m", "q8_0")]


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("o/r", Reference("o/r")),
        ("o/r:Q4_K_M", Reference("o/r", quant="Q4_K_M")),
        ("o/r/a/b.gguf", Reference("o/r", path="a/b.gguf")),
        ("o/r@v1", Reference("o/r", "v1")),
        ("o/r@refs/pr/1", Reference("o/r", "refs/pr/1")),
        ("o/r:Q8_0@v1.0", Reference("o/r", "v1.0", "Q8_0")),
        ("o/r@v1.0:Q8_0", Reference("o/r", "v1.0", "Q8_0")),
        ("o/r/b.GGUF@main", Reference("o/r", "main", path="b.GGUF")),
        (" o/r\n", Reference("o/r")),
    ],
)
def test_references(text: str, reference: Reference) -> None:
    assert parse(text) == reference


@pytest.mark.parametrize(
    "text",
    ["", "r", "o/", "/r", "o//r", "../r", "o/..", "o/r/../x.gguf", "o/r/x.bin", "o/r:", "o/r@", "o/r@a@b", "o/r:Q4?x=1",
     "https://host/o/r", "o/r:Q4 K", "ö/r"],
)  # fmt: skip
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(Unusable):
        parse(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("o/r", QWEN[3]),
        ("o/r:Q4_K_M", QWEN[3]),
        ("o/r:q8_0", QWEN[6]),
        ("o/r:Q5_0", QWEN[4]),
        ("o/r:FP16", QWEN[0]),
        (f"o/r/{QWEN[1]}", QWEN[1]),
    ],
)
def test_the_quantisation_is_found_however_it_is_spelled(text: str, path: str) -> None:
    assert chosen(text, *QWEN) == path


def test_a_quantisation_is_a_whole_word() -> None:
    assert chosen("o/r:Q4_0", "m-Q4_0_4_4.gguf", "m-IQ4_0.gguf", "m.Q4_0.gguf") == "m.Q4_0.gguf"
    with pytest.raises(NotFound, match=r"it has m-Q4_K_M\."):
        chosen("o/r:Q4_K", "m-Q4_K_M.gguf")


def test_variants_yield_to_the_plain_one_but_two_models_do_not() -> None:
    assert chosen("o/r:Q4_K_XL", "m-UD-Q4_K_XL.gguf", "m-Q4_K_XL.gguf") == "m-Q4_K_XL.gguf"
    assert chosen("o/r:Q4_K_XL", "m-UD-Q4_K_XL.gguf") == "m-UD-Q4_K_XL.gguf"
    with pytest.raises(Unusable, match="name one of them: base-Q4_0, chat-Q4_0"):
        chosen("o/r:Q4_0", "chat-Q4_0.gguf", "base-Q4_0.gguf")


def test_without_a_usual_quantisation_the_smallest_is_taken() -> None:
    assert chosen("o/r", "m-Q6_K.gguf", "m-F16.gguf") == "m-Q6_K.gguf"
    assert chosen("o/r", "m-F16.gguf", "m-Q5_K_M.gguf") == "m-Q5_K_M.gguf"


def test_a_model_in_parts_is_one_model() -> None:
    parts = [f"Q4_K_M/m-Q4_K_M-0000{n}-of-00003.gguf" for n in (2, 3, 1)]
    (found,) = models(*parts)
    assert [file.path[-19:] for file in found.files] == [f"-0000{n}-of-00003.gguf"[-19:] for n in (1, 2, 3)]
    assert found.size == 303
    assert choose(parse("o/r:q4_k_m"), [found]) is found
    assert choose(parse(f"o/r/{parts[0]}"), [found]) is found


def test_a_folder_tells_the_quantisation_where_the_name_does_not() -> None:
    assert chosen("o/r:BF16", "BF16/m.gguf", "Q4_0/m.gguf") == "BF16/m.gguf"


@pytest.mark.parametrize(
    "path",
    ["mmproj-m-f16.gguf", "m-mmproj-Q8_0.gguf", "imatrix.gguf", "m.imatrix.gguf", ".m.gguf", "m-00001-of-00002.gguf",
     "a\\..\\m.gguf", "m\n.gguf", "$(m).gguf", "../m.gguf", "x/../m.gguf", f"{'m' * 300}.gguf", "-rf.gguf"],
)  # fmt: skip
def test_what_is_no_model(path: str) -> None:
    assert models(path) == []
    with pytest.raises(NotFound, match="holds no GGUF model"):
        choose(Reference(REPO), models(path))


def test_names_that_only_sound_like_it() -> None:
    assert chosen("o/r", "m-IQ4_XS-imatrix-v2.gguf") == "m-IQ4_XS-imatrix-v2.gguf"


def test_a_missing_file_names_those_that_are_there() -> None:
    with pytest.raises(NotFound, match=r"holds no x\.gguf; it has a, b\."):
        chosen("o/r/x.gguf", "a.gguf", "b.gguf")
    many = [f"m{n:02}.gguf" for n in range(40)]
    with pytest.raises(NotFound, match="and 28 more"):
        chosen("o/r:Q9", *many)


@given(st.text(alphabet=string.ascii_letters + "0123456789/.:@-_ \\\n", max_size=60))
def test_no_text_names_anything_outside(text: str) -> None:
    try:
        reference = parse(text)
    except Unusable:
        return
    for given_path in (reference.repo, reference.path or "x", reference.revision or "x"):
        assert ".." not in given_path.split("/")
        assert not given_path.startswith("/")


@given(st.lists(st.text(max_size=40).map(lambda text: f"{text}.gguf"), max_size=8), st.text(max_size=8))
def test_whatever_a_hub_tells_the_files_lie_in_our_folder(paths: list[str], quant: str) -> None:
    try:
        model = choose(Reference(REPO, quant=quant or None), models(*paths))
    except BackchannelError:
        return
    for file in model.files:
        assert "/" not in file.name
        assert not file.name.startswith((".", "-"))
        assert file.name.isascii()
        assert file.name.isprintable()
