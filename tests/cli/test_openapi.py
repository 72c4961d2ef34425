"""`backchannel openapi`: the description of the interface, with no server anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from config.settings import reset_settings
from tests.cli.conftest import Run


def test_json_on_the_standard_output(run: Run) -> None:
    result = run("openapi")
    assert result.exit_code == 0
    whole = json.loads(result.stdout)
    assert whole["openapi"].startswith("3.1")
    assert whole["paths"]["/api/jobs"]["post"]["operationId"] == "job_submit"


def test_yaml_tells_the_same(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "openapi.yaml"
    result = run("openapi", "--format", "yaml", "--output", file)
    assert result.exit_code == 0
    assert result.stdout == ""
    text = file.read_text()
    assert yaml.safe_load(text) == json.loads(run("openapi").stdout)
    assert "&id" not in text  # no anchors


def test_sign_in_is_as_the_settings_have_it(run: Run, settings: pytest.MonkeyPatch) -> None:
    assert {} in json.loads(run("openapi").stdout)["paths"]["/api/jobs"]["get"]["security"]
    settings.setenv("AUTH_MODE", "required")
    reset_settings()
    assert {} not in json.loads(run("openapi").stdout)["paths"]["/api/jobs"]["get"]["security"]


def test_a_file_that_cannot_be_written_is_told(run: Run, tmp_path: Path) -> None:
    result = run("openapi", "--output", tmp_path / "nowhere" / "openapi.json")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
