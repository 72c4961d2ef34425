"""Conversations about the same subjects as the labelled ones, with other codes, names and days: nearly right."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.labelled.said import Said

FIRST_DAY, DAYS = datetime(2023, 7, 1, 9, tzinfo=UTC), 540
CODES = ("ZX-8{}", "E0{}", "TS2{}", "P0{}", "F{}", "ERR-{}", "HTTP 5{}", "RE-2024-0{}", "order 7F-44{}", "build 4.{}")


def distractors(count: int, seed: int) -> list[Said]:
    chance = random.Random(seed)
    lists, subjects = _read(Path(__file__).with_suffix(".txt"))
    return [_said(number, chance, lists, subjects[number % len(subjects)]) for number in range(count)]


def _read(path: Path) -> tuple[dict[str, list[str]], list[list[str]]]:
    """Lists of what may be chosen by name, and subjects: title, question and answer."""
    lists: dict[str, list[str]] = {}
    subjects: list[list[str]] = []
    for block in path.read_text(encoding="utf-8").split("\n\n")[1:]:
        head, *lines = block.strip().splitlines()
        if head == "[subject]":
            subjects.append(lines)
        else:
            lists[head.strip("[]")] = lines
    return lists, subjects


def _said(number: int, chance: random.Random, lists: dict[str, list[str]], subject: list[str]) -> Said:
    values = {name: chance.choice(listed) for name, listed in lists.items()}
    values |= {"days": str(chance.randint(2, 9)), "code": chance.choice(CODES).format(chance.randint(100, 999))}
    title, *told = (text.format(**values) for text in subject)
    for _ in range(chance.randint(0, 2)):
        told += [
            f"{chance.choice(lists['common']).capitalize()}. {values['person']} says the same.",
            chance.choice(lists["advice"]),
        ]
    day = FIRST_DAY + timedelta(days=chance.randrange(DAYS), minutes=chance.randrange(600))
    return Said(f"d{number}", day, title.capitalize(), told)
