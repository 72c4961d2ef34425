"""A classifier of transformers in a folder: a real one, tiny and untrained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from config import voice_models
from config.errors import ModelUnavailable
from config.settings import get_settings, reset_settings
from tests import factories
from workers import registry
from workers.embedding.hashing import HashingEmbedder
from workers.emotion.classifier import ClassifierEmotion
from workers.emotion.prototypes import PrototypeEmotion

LABELS = ("Anger", "Joy", "Neutral")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny-emotion"
    words = {"[PAD]": 0, "[UNK]": 1, "i": 2, "am": 3, "angry": 4}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", model_max_length=32
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=32, id2label=dict(enumerate(LABELS)),
        label2id={name: at for at, name in enumerate(LABELS)},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_it_tells_the_models_own_labels(folder: Path) -> None:
    emotion = ClassifierEmotion(str(folder))
    assert (emotion.name, emotion.labels) == ("tiny-emotion", ("anger", "joy", "neutral"))
    feeling = emotion.classify("i am angry")
    assert feeling.scores.keys() == set(emotion.labels)
    assert sum(feeling.scores.values()) == pytest.approx(1, abs=1e-5)
    assert (feeling.backend, feeling) == ("tiny-emotion", emotion.classify("i am angry"))


@pytest.mark.parametrize("text", ["x", "i am angry " * 5000, "\ud83d"])
def test_any_text_is_cut_to_its_input(folder: Path, text: str) -> None:
    assert sum(ClassifierEmotion(str(folder)).classify(text).scores.values()) == pytest.approx(1, abs=1e-5)


def test_threads_share_one(folder: Path) -> None:
    emotion = ClassifierEmotion(str(folder))
    alone = emotion.classify("i am")
    assert set(map(repr, factories.at_once(*[lambda: emotion.classify("i am")] * 4))) == {repr(alone)}


@pytest.fixture
def fresh(settings: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    settings.setattr(registry, "_emotion", None)
    settings.setattr(registry, "_embedder", HashingEmbedder())
    return settings


def test_the_settings_choose(fresh: pytest.MonkeyPatch, folder: Path) -> None:
    fresh.setenv("EMOTION_MODEL", str(folder))
    reset_settings()
    assert isinstance(registry.emotion(), ClassifierEmotion)
    assert registry.emotion() is registry.emotion()


def test_without_a_setting_it_is_the_embedder(fresh: pytest.MonkeyPatch) -> None:
    assert isinstance(registry.emotion(), PrototypeEmotion)


def test_what_was_pulled_for_the_voice_is_taken(fresh: pytest.MonkeyPatch, folder: Path) -> None:
    place = voice_models.folder(get_settings(), "emotion")
    shutil.copytree(folder, place)
    (place / voice_models.ORIGIN).write_text('{"name": "roberta"}')
    emotion = registry.emotion()
    assert isinstance(emotion, ClassifierEmotion)
    assert emotion.classify("i am angry").backend == "roberta"


def test_a_broken_folder_is_told_and_made_up_for(
    fresh: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    with pytest.raises(ModelUnavailable) as caught:
        ClassifierEmotion(str(broken))
    assert str(tmp_path) not in caught.value.detail
    fresh.setenv("EMOTION_MODEL", str(broken))
    reset_settings()
    assert isinstance(registry.emotion(), PrototypeEmotion)
