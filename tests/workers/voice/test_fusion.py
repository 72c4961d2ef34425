"""Words and voice together: each counts as far as it is sure, and a voice has no pleasant or unpleasant."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.labelled.spoken import spoken
from tests.workers.voice.spoken import Style, say
from workers.embedding.minilm import SentenceEmbedder
from workers.emotion.prototypes import PrototypeEmotion
from workers.ports import Feeling
from workers.voice.fusion import AROUSAL, fuse
from workers.voice.ports import Prosody
from workers.voice.prosody import ProsodyEmotion

SHARES = st.floats(0, 1)
LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise", "gratitude", "Label_9")
FEELINGS = st.dictionaries(st.sampled_from(LABELS), st.floats(0.001, 1), min_size=1).map(
    lambda scores: Feeling({label: share / sum(scores.values()) for label, share in scores.items()}, "words")
)


def voice(arousal: float, confidence: float = 0.8) -> Prosody:
    return Prosody(arousal, confidence, 120.0, -20.0, 4.0, "prosody")


VOICES = st.builds(voice, st.floats(-1, 1), SHARES)
UNSURE = Feeling({"anger": 0.4, "sadness": 0.45, "joy": 0.05, "neutral": 0.1}, "words")


def test_a_stirred_voice_decides_between_equally_unpleasant_feelings() -> None:
    assert fuse(UNSURE, 1.0, voice(0.8)).primary == "anger"
    assert fuse(UNSURE, 1.0, voice(-0.8)).primary == "sadness"
    assert fuse(UNSURE, 1.0, voice(0.8, confidence=0.0)).scores == pytest.approx(UNSURE.scores)
    assert fuse(UNSURE, 1.0, None).scores == pytest.approx(UNSURE.scores)


def test_words_that_are_not_believed_weigh_less() -> None:
    sure, unsure, none = (fuse(UNSURE, confidence, None) for confidence in (1.0, 0.3, 0.0))
    assert sure.primary == unsure.primary == "sadness"
    assert sure.confidence > unsure.confidence > none.confidence == pytest.approx(1 / 4)
    assert none.primary == "neutral"


def test_without_words_nothing_is_claimed() -> None:
    fused = fuse(None, 0.9, voice(0.9))
    assert (fused.primary, fused.confidence, fused.backend) == ("neutral", 0.0, "prosody")
    assert fuse(None, 0.9, None).backend == "none"


def test_what_is_told() -> None:
    told = json.loads(json.dumps(fuse(UNSURE, 0.7, voice(0.4)).as_json()))
    assert told.keys() == {"primary_emotion", "confidence", "scores", "backend", "text", "speech"}
    assert told["backend"] == "words + prosody"
    assert told["confidence"] == told["scores"][told["primary_emotion"]]
    assert told["text"] == {
        "primary_emotion": "sadness", "confidence": 0.45, "scores": UNSURE.scores, "backend": "words"
    }  # fmt: skip
    assert told["speech"]["arousal"] == 0.4
    assert (told["speech"]["confidence"], told["speech"]["backend"]) == (0.8, "prosody")
    nothing = fuse(None, 0.0, None).as_json()
    assert (nothing["text"], nothing["speech"]) == (None, None)


@given(FEELINGS, SHARES, st.none() | VOICES)
def test_of_anything_shares_make_one(feeling: Feeling, confidence: float, prosody: Prosody | None) -> None:
    fused = fuse(feeling, confidence, prosody)
    assert fused.scores.keys() == feeling.scores.keys()
    assert sum(fused.scores.values()) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in fused.scores.values())
    assert fused.confidence == fused.scores[fused.primary] == max(fused.scores.values())


@given(FEELINGS, SHARES, VOICES)
def test_a_voice_makes_nothing_pleasant_or_unpleasant(feeling: Feeling, confidence: float, prosody: Prosody) -> None:
    with_it, without = fuse(feeling, confidence, prosody).scores, fuse(feeling, confidence, None).scores
    for feelings in AROUSAL:
        alike = [label for label in with_it if label in feelings]
        assert sum(with_it[label] for label in alike) == pytest.approx(sum(without[label] for label in alike))
    unknown = [label for label in with_it if not any(label in feelings for feelings in AROUSAL)]
    assert all(with_it[label] == pytest.approx(without[label]) for label in unknown)


@given(FEELINGS, st.floats(0, 0.9))
def test_the_more_stirred_the_more_anger_of_what_is_unpleasant(feeling: Feeling, arousal: float) -> None:
    calmer, stirred = (fuse(feeling, 1.0, voice(by)).scores for by in (arousal, arousal + 0.1))
    if "anger" in feeling.scores:
        assert stirred["anger"] >= calmer["anger"] - 1e-9


@pytest.mark.slow
def test_both_are_no_worse_than_the_words() -> None:
    """Of 63 utterances, spoken: the words alone 0.87; both, of words that are sure, too."""
    utterances = spoken()
    styles = [Style(v.rate, v.pitch, v.span, v.amplitude, one.name) for one in utterances for v in [one.voice]]
    sounds = say(*[(one.text, style) for one, style in zip(utterances, styles, strict=True)])
    prosody, embedder = ProsodyEmotion(), SentenceEmbedder(threads=1)
    try:
        emotion = PrototypeEmotion(embedder)
        feelings = [emotion.classify(one.text) for one in utterances]
    finally:
        embedder.close()
    labels = [one.label for one in utterances]
    assert len(labels) >= 60
    alone = [feeling.label for feeling in feelings]
    both = [fuse(feeling, 1.0, prosody.hear(sound)).primary for feeling, sound in zip(feelings, sounds, strict=True)]
    right_alone, right_both = (
        sum(told == label for told, label in zip(found, labels, strict=True)) / len(labels) for found in (alone, both)
    )
    assert right_both >= right_alone >= 0.8
