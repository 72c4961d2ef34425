"""What `make run` reads: the pinned requirements, and the list of settings."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from pydantic import SecretStr

from config.settings import Settings

ROOT = Path(__file__).parents[2]


def pins(name: str) -> dict[str, str]:
    lines = [line.partition(";")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    found = [re.fullmatch(r"([\w.-]+)==([\w.+]+)", line) for line in lines if line and line[0] not in "#-"]
    assert all(found), f"{name} holds a line that is no pin"
    return {canonical(match[1]): match[2] for match in found if match}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(requirements: list[str]) -> set[str]:
    return {canonical(re.split(r"[\[<>=;\s]", requirement)[0]) for requirement in requirements}


def test_everything_that_is_asked_for_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    running, besides = pins("requirements.txt"), pins("requirements-dev.txt")
    assert wanted(project["dependencies"]) <= running.keys()
    assert wanted(project["optional-dependencies"]["dev"]) <= besides.keys() | running.keys()
    assert not running.keys() & besides.keys()


def test_no_platform_is_pinned() -> None:
    running = pins("requirements.txt")
    assert running["torch"] == "2.13.0"
    assert not [name for name, version in running.items() if name.startswith("nvidia") or "+" in version]


def test_the_example_lists_every_setting_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text()
    listed = dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", text, re.MULTILINE))
    expected = {}
    for name, field in Settings.model_fields.items():
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        match default:
            case bool():
                shown = str(default).lower()
            case tuple():
                shown = ",".join(default)
            case None | {}:
                shown = ""
            case _:
                shown = str(default)
        expected[name.upper()] = shown
    assert listed == expected


@pytest.mark.parametrize("python", ["/nonexistent/python", "/bin/false"])
def test_a_missing_python_is_one_sentence(tmp_path: Path, python: str) -> None:
    for name in ("setup.sh", "requirements.txt", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        ["sh", "setup.sh", "requirements.txt"], cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHON": python},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Python 3.11 or newer is missing" in done.stderr
    assert not (tmp_path / ".venv").exists()
