"""The labelled set and what is computed from it: a wrong label or mean there would be believed."""

from __future__ import annotations

import pytest

from benchmarks import labelled
from benchmarks.labelled import KINDS, Question
from benchmarks.retrieval import recall, reciprocal_rank


def test_every_question_looks_for_something_that_is_there() -> None:
    said = labelled.conversations()
    keys = [one.key for one in said]
    questions = labelled.questions()
    assert len(keys) == len(set(keys)) == 450
    assert all(one.texts and one.title for one in said)
    assert all(question.right and question.right <= set(keys) for question in questions)
    assert {question.kind for question in questions} == set(KINDS)
    for kind in KINDS:
        halves = [question.tuned for question in questions if question.kind == kind]
        assert abs(sum(halves) - len(halves) / 2) <= 0.5
    assert labelled.conversations() == said


def test_recall_and_reciprocal_rank() -> None:
    one = Question("name", "?", frozenset({"a"}), tuned=True)
    two = Question("name", "?", frozenset({"a", "b"}), tuned=True)
    assert recall([one, two], [["x", "a"], ["a", "x"]]) == pytest.approx(0.75)
    assert recall([one], [["x"] * 5 + ["a"]]) == 0
    assert reciprocal_rank([one, two], [["x", "a"], ["x", "x", "x", "b"]]) == pytest.approx(0.375)
    assert reciprocal_rank([one], [[]]) == 0
