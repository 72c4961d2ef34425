"""`backchannel doctor`: each part's state, and how to mend it in one sentence."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click

from cli import checks
from cli.checks import Check, Patient, guarded
from cli.output import open_client, print_json
from cli.problems import ClientError
from config.queues import expected_workers
from config.settings import SettingsError, get_settings
from config.voice_models import VOICE

STATUS_TIMEOUT_S = 10.0
_MARKS = {"ok": ("ok", "green"), "info": ("note", "yellow"), "broken": ("BROKEN", "red")}


@click.command("doctor", help="Check each part and say how to mend it. Exits with 1 when something is broken.")
@click.option("--url", envvar="BACKCHANNEL_URL", show_envvar=True, help="Server [default: HOST and PORT].")
@click.option("--api-key", envvar="BACKCHANNEL_API_KEY", show_envvar=True, help="Key to sign in with.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text for people.")
def command(url: str | None, api_key: str | None, as_json: bool) -> None:
    found = [guarded("python", checks.python)]
    try:
        patient = checks.examine(get_settings())
    except SettingsError as error:
        mend = "correct it in the environment or in .env; .env.example lists every setting"
        found += [Check("settings", "broken", line, mend) for line in str(error).splitlines()]
    else:
        found += [Check("settings", "ok", "every value can be used"), *_parts(patient), *_server(patient, url, api_key)]
    broken = [check for check in found if check.state == "broken"]
    if as_json:
        print_json({"ok": not broken, "checks": [asdict(check) for check in found]})
    else:
        _show(found)
    sys.exit(1 if broken else 0)


def _parts(patient: Patient) -> list[Check]:
    found = [
        guarded("data", lambda: checks.data_dir(patient)),
        guarded("database", lambda: checks.database(patient)),
        guarded("redis", lambda: checks.redis(patient)),
        guarded("chroma", lambda: checks.chroma(patient)),
        guarded("model", lambda: checks.language_model(patient)),
        guarded("llama.cpp", checks.runtime),
        guarded("embeddings", lambda: checks.embeddings(patient)),
    ]
    found += [check for check in (checks.models_file(patient), checks.unfinished_pulls(patient)) if check is not None]
    try:
        return found + checks.ports(patient)
    except OSError as error:
        return [
            *found,
            Check("ports", "broken", f"HOST is no address of this machine: {error.strerror}", "correct HOST"),
        ]


def _server(patient: Patient, url: str | None, api_key: str | None) -> list[Check]:
    """The web process, and through it the workers."""
    try:
        with open_client(url, api_key) as client:
            status = client.request("GET", "/api/status", timeout=STATUS_TIMEOUT_S)
            address = client.address
    except ClientError as error:
        if error.status == 401:
            return [Check("web", "ok", "answers, and asks who you are", "give --api-key to see the workers too")]
        if patient.running or url:
            return [Check("web", "broken", error.message, "look at the lines of web in the log of backchannel up")]
        return [Check("web", "info", checks.NOT_RUNNING), Check("workers", "info", checks.NOT_RUNNING)]
    except click.UsageError as error:
        return [Check("web", "broken", error.message, "correct --url or BACKCHANNEL_URL")]
    return [Check("web", "ok", f"answers at {address}"), *_workers(status)]


def _workers(status: dict[str, Any]) -> list[Check]:
    found = []
    present = {worker["name"]: worker for worker in status.get("workers", [])}
    for name in expected_workers(voice=get_settings().voice_enabled):
        worker = present.get(name)
        if worker is None:
            mend = f"start it (backchannel run {name}), or look at its lines in the log of backchannel up"
            found.append(Check(name, "broken", "this worker is not there", mend))
            continue
        models = {role: model for role, model in worker.get("models", {}).items() if isinstance(model, dict)}
        failed = {role: str(model.get("detail")) for role, model in models.items() if model.get("state") == "failed"}
        silent = failed.pop("speaker", None)
        if failed:
            mend = "see model and llama.cpp above"
            if name == VOICE:
                mend = "run: make setup; with VOICE_ENABLED=false the house does without a voice"
            found.append(Check(name, "broken", f"a model could not be loaded: {'; '.join(failed.values())}", mend))
        elif worker["state"] in ("starting", "loading"):
            found.append(Check(name, "info", "loading its model", "wait a moment"))
        else:
            found.append(Check(name, "ok", f"{worker['state']}{_loaded(name, models)}"))
        if silent is not None:
            found.append(checks.speaker(get_settings(), silent))
    return found


def _loaded(name: str, models: dict[str, Any]) -> str:
    """With which models; of the voice, what each serves."""
    ready = {role: str(model["name"]) for role, model in models.items() if model.get("state") == "ready"}
    served = [f"{role.replace('_', ' ')} {model}" if name == VOICE else model for role, model in ready.items()]
    return f" with {', '.join(served)}" if served else ""


def _show(found: list[Check]) -> None:
    width = max(len(check.part) for check in found)
    for check in found:
        word, colour = _MARKS[check.state]
        click.echo(f"{click.style(word.ljust(6), fg=colour)}  {check.part.ljust(width)}  {check.found}")
        if check.mend:
            click.echo(f"{'':{width + 10}}{check.mend}")
