"""What somebody denies to feel. Vectors of "angry" and "not angry" lie side by side, so the denial is read from the
words and said in other ones before a text is compared: "I'm not angry" becomes "I'm all right"."""

from __future__ import annotations

import re

# Adjectives and participles, verbs, nouns; the first of each is how the opposite is said.
_WORDS: dict[str, tuple[tuple[str, str], tuple[str, str], tuple[str, str]]] = {
    "anger": (
        ("all right", "angry mad furious livid cross annoyed irritated outraged enraged upset pissed bitter resentful"),
        ("suit", "anger annoy irritate infuriate enrage"),
        ("calm", "anger rage fury resentment hatred"),
    ),
    "disgust": (
        ("fine", "disgusted disgusting gross revolting repulsed nauseating nauseated sickening vile filthy nasty"),
        ("suit", "disgust repulse revolt sicken"),
        ("calm", "disgust revulsion"),
    ),
    "fear": (
        (
            "all right",
            "afraid scared frightened terrified worried anxious nervous fearful panicking alarmed scary worrying",
        ),
        ("suit", "scare frighten terrify worry fear panic"),
        ("calm", "fear panic anxiety worry worries terror"),
    ),
    "joy": (
        ("unhappy", "happy glad pleased delighted excited thrilled cheerful joyful content proud"),
        ("annoy", "please delight"),
        ("emptiness", "joy happiness fun pleasure"),
    ),
    "sadness": (
        ("fine", "sad unhappy depressed heartbroken miserable lonely disappointed gloomy homesick down"),
        ("suit", "sadden depress disappoint"),
        ("calm", "sadness grief sorrow"),
    ),
    "surprise": (
        ("unmoved", "surprised surprising astonished amazed shocked shocking stunned astonishing unexpected"),
        ("suit", "surprise shock astonish amaze"),
        ("calm", "surprise surprises shock"),
    ),
}
_ADJECTIVE, _VERB, _NOUN = range(3)


def _known(form: int) -> dict[str, tuple[str, str]]:
    """word → (label, how its opposite is said)"""
    return {word: (label, forms[form][0]) for label, forms in _WORDS.items() for word in forms[form][1].split()}


_FORMS = tuple(_known(form) for form in (_ADJECTIVE, _VERB, _NOUN))
_FEELING = re.compile(rf"\b(?:{'|'.join(sorted({word for form in _FORMS for word in form}))})\b", re.IGNORECASE)

_BETWEEN = (
    r"really|very|too|even|all|feel|feeling|been|be|get|getting|exactly|particularly|remotely|actually|especially"
    r"|terribly|overly|make|makes|made|making|me|him|her|us|them|you|any|much|a|at|bit|in|the|least"
)
_MORE = r"|so|that|this"  # "not so angry" denies something, "never so angry" does not


_PHRASE = re.compile(
    r"(?:(?P<verb>\b(?:am|is|are|was|were|do|does|did|have|has|had|wo|would|should|could|ca|must))(?:n['’]?t|\s*not)\b"
    r"|\bnot\b(?!\s+(?:only|just|merely|simply)\b)|\b(?:no\s+longer|hardly|neither|nor)\b)"
    rf"(?P<between>(?:\s+(?:{_BETWEEN}{_MORE})\b){{0,5}})\s+(?P<word>{_FEELING.pattern})"
    rf"|\bnever(?P<between_never>(?:\s+(?:{_BETWEEN})\b){{0,5}})\s+(?P<word_never>{_FEELING.pattern})"
    rf"|\b(?:no|without)(?:\s+(?:any|more|real|great))?\s+(?P<word_no>{_FEELING.pattern})",
    re.IGNORECASE,
)
_STEMS = {"ca": "can", "wo": "will"}


def say_otherwise(text: str) -> tuple[str, frozenset[str]]:
    """The text with its denied feelings said positively, and the labels that are denied and stand nowhere else."""
    denied: set[str] = set()

    def replace(found: re.Match[str]) -> str:
        word = found["word"] or found["word_never"] or found["word_no"]
        label, opposite = _meaning(word, is_noun=found["word_no"] is not None, is_verb=_does(found))
        denied.add(label)
        verb = found["verb"] or ""
        between = found["between"] or found["between_never"] or ""
        return f"{_STEMS.get(verb.lower(), verb)}{between} {opposite}".strip()

    rewritten = _PHRASE.sub(replace, text)
    if not denied:
        return text, frozenset()
    affirmed = {_meaning(word, is_noun=False, is_verb=False)[0] for word in _FEELING.findall(_PHRASE.sub(" ", text))}
    return rewritten, frozenset(denied - affirmed)


def _does(found: re.Match[str]) -> bool:
    """`does not surprise`, against `is not surprised`."""
    return (found["verb"] or "").lower() in ("do", "does", "did", "wo", "would", "could", "ca")


def _meaning(word: str, *, is_noun: bool, is_verb: bool) -> tuple[str, str]:
    first = _NOUN if is_noun else _VERB if is_verb else _ADJECTIVE
    order = (first, _ADJECTIVE, _VERB, _NOUN)
    return next(_FORMS[form][word.lower()] for form in order if word.lower() in _FORMS[form])
