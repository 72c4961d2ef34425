"""The house as it is drawn: which room knows which, what each may import, how long a file may get."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.queues import KINDS, WORKERS, Kind

ROOT = Path(__file__).parent.parent
ROOMS = ("api", "cli", "config", "storage", "tasks", "workers")
MAX_LINES = 400

# A library and the only room that may import it.
AT_HOME = {
    "litestar": "api",
    "sqlmodel": "storage",
    "sqlalchemy": "storage",
    "chromadb": "storage",
    "llama_cpp": "workers",
    "sentence_transformers": "workers",
    "transformers": "workers",
    "torch": "workers",
    "onnxruntime": "workers",
    "pocketsphinx": "workers",
    "faster_whisper": "workers",
    "av": "workers",
}


def sources() -> list[Path]:
    found = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    assert len(found) > 50
    return found


def drawn_arrows() -> dict[str, set[str]]:
    """room → rooms it may know, from the sentence under the drawing."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    (sentence,) = re.findall(r"^Arrows: (.*)\.$", text, re.MULTILINE)
    arrows: dict[str, set[str]] = {}
    for part in sentence.split(" · "):
        room, _, known = part.partition(" → ")
        arrows[room] = set(ROOMS) - {room} if known == "any" else set(known.split(", "))
    return arrows | {"config": set()}


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Modules imported anywhere in a file, inside functions too, and the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno


def calls(tree: ast.Module, name: str) -> list[int]:
    """Lines that call `name(…)` or `something.name(…)`."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (getattr(node.func, "id", None) == name or getattr(node.func, "attr", None) == name)
    ]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


# --- rooms


def test_the_drawing_names_every_room() -> None:
    assert set(drawn_arrows()) == set(ROOMS)
    drawing = (ROOT / "docs" / "architecture.md").read_text().split("```")[1]
    assert {room for room in ROOMS if room in drawing} == set(ROOMS) - {"cli"}, "cli stands beside the house"


def test_every_import_between_rooms_is_a_drawn_arrow() -> None:
    arrows = drawn_arrows()
    undrawn = [
        f"{where(path, line)} imports {module}"
        for path in sources()
        for module, line in imports(parsed(path))
        if (room := path.relative_to(ROOT).parts[0]) != (other := module.partition(".")[0])
        and other in ROOMS
        and other not in arrows[room]
    ]
    assert undrawn == []


def test_libraries_stay_in_their_room() -> None:
    strayed = [
        f"{where(path, line)} imports {module}"
        for path in sources()
        for module, line in imports(parsed(path))
        if AT_HOME.get(module.partition(".")[0], room := path.relative_to(ROOT).parts[0]) != room
    ]
    assert strayed == []


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).parent / "lint-imports"),
        "--no-cache",
        "--config",
        str(folder / "pyproject.toml"),
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def test_the_import_contracts_are_kept() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_import_contracts_catch_every_arrow_that_is_not_drawn(tmp_path: Path) -> None:
    """A copy of the house with one forbidden import of each sort: every one of them is named."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "static"))
    planted = {}
    for room, known in drawn_arrows().items():
        for other in set(ROOMS) - known - {room}:
            planted[f"{room}.planted_{other}"] = f"import {other}.__init__\n"
        for library, home in AT_HOME.items():
            if room not in (home,):
                planted[f"{room}.planted_{library}"] = f"import {library}\n"
    for module, code in planted.items():
        (tmp_path / (module.replace(".", "/") + ".py")).write_text(code)
    done = lint_imports(tmp_path)
    assert done.returncode != 0
    assert [module for module in planted if f"{module} " not in done.stdout] == [], done.stdout


# --- files


def test_files_stay_readable_in_one_sitting() -> None:
    long = {
        str(path.relative_to(ROOT)): lines for path in sources() if (lines := path.read_text().count("\n")) > MAX_LINES
    }
    assert long == {}


def test_nothing_but_the_command_line_prints() -> None:
    printing = [
        where(path, line)
        for path in sources()
        if path.relative_to(ROOT).parts[0] != "cli"
        for line in calls(parsed(path), "print")
    ]
    assert printing == []


def test_commit_stands_in_one_file() -> None:
    """Whoever looks for where something becomes true has one place to look. Migrations have their own transaction."""
    committing = {
        str(path.relative_to(ROOT))
        for path in sources()
        if "migrations" not in path.parts and calls(parsed(path), "commit")
    }
    assert committing == {"storage/database.py"}


def test_engines_of_other_libraries_are_made_where_the_rules_are() -> None:
    making = {str(path.relative_to(ROOT)) for path in sources() if calls(parsed(path), "create_engine")}
    assert making == {"storage/database.py"}


def test_docs_name_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`((?:api|cli|config|storage|tasks|workers|tests)/[\w/]+\.py)`", text)
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


# --- one table, read by all rooms


def test_every_kind_has_a_queue_that_a_worker_serves() -> None:
    served = {queue for queues in WORKERS.values() for queue in queues}
    assert set(KINDS) == set(Kind)
    assert {spec.queue for spec in KINDS.values()} <= served


def test_every_task_that_is_asked_for_by_name_exists() -> None:
    from config.celery import celery_app
    from tasks import all as _all  # noqa: F401 - registers them
    from tasks.emotions import EMOTION
    from tasks.enquiries import ANSWERS
    from tasks.search import SEARCH

    assert set(ANSWERS) == {EMOTION, SEARCH}
    asked = {spec.task for spec in KINDS.values()}
    asked |= {entry["task"] for entry in celery_app.conf.beat_schedule.values()}
    assert asked <= set(celery_app.tasks)


def test_both_rooms_call_search_by_one_name() -> None:
    from api import search as hears
    from tasks import search as answers

    assert hears.SEARCH == answers.SEARCH


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "CHANGELOG.md", "Makefile", "Procfile", "pyproject.toml"])
def test_what_a_newcomer_looks_for_is_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0
