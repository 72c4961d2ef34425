"""`backchannel models`: which there are, pulling one from the hub, choosing the house's, removing one.

`list` and `pull` speak to the server; `use` and `remove` change this machine's DATA_DIR, whether or not it runs.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.exceptions import Exit
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from cli.client import Client, Waiting
from cli.model_list import print_list, without_a_server
from cli.output import INTERRUPTED, Group, note, print_json, printable, remote, short
from cli.problems import ClientError
from config import catalogue, voice_models
from config.catalogue import LOCAL
from config.settings import Settings, get_settings

Json = dict[str, Any]

command = Group("models", help="List models, pull one from the hub, choose the house's default, remove one.")


@command.command("list")
@remote
def list_models(client: Client, as_json: bool) -> None:
    """List the models of this machine and of the providers."""
    try:
        found = client.request("GET", "/api/models")
    except ClientError as error:
        if error.code != "unreachable":
            raise
        note("The server does not run; this is what its settings and the disk tell.")
        found = without_a_server(get_settings(), _house_default())
    if as_json:
        print_json(found)
    else:
        print_list(found)


def _house_default() -> str | None:
    from storage import llm_defaults
    from storage.database import DatabaseError, reading

    if not _has_database():
        return None
    with contextlib.suppress(DatabaseError), reading() as session:
        row = llm_defaults.get(session, llm_defaults.CHAT)
        return row.model if row is not None else None
    return None


# --- pull


@command.command("pull")
@click.argument("model", required=False, default="", metavar="[NAME]")
@click.option("--progress/--no-progress", default=True, help="A bar on stderr [default: where stderr is a terminal].")
@remote
def pull(client: Client, model: str, progress: bool, as_json: bool) -> None:
    """Have the server pull a model from the hub: owner/repository, with :Q4_K_M or /file.gguf behind it.

    `voice` means the models of the voice, `voice:transcriber`, `voice:speaker` and `voice:emotion` one of them.
    """
    if not model:
        note(f"Pulling {get_settings().model_pull_default}, as MODEL_PULL_DEFAULT says.")
        model = get_settings().model_pull_default
    job = client.submit("pull", {"model": model}, key=f"pull-{uuid.uuid4()}")
    try:
        _follow(client, job, progress)
    except KeyboardInterrupt:
        note(f"The pull goes on in the server; `backchannel jobs cancel {short(job['id'])}` stops it.")
        raise Exit(INTERRUPTED) from None
    result = client.job(job["id"])["result"] or {}
    if as_json:
        print_json(result)
        return
    for one in result.get("parts", [result]):
        came = "was here already" if not one["fetched_bytes"] else "is here"
        part = f"{one['part']} " if "part" in one else ""
        click.echo(f"{part}{printable(one['name'])} {came}: {decimal(one['bytes'])}, SHA-256 {one['sha256']}.")
    if "parts" in result and result["fetched_bytes"]:
        note("The voice takes them up when the server is started again.")


def _follow(client: Client, job: Json, progress: bool) -> None:
    waiting = Waiting(client)
    with _bar(progress) as bar:
        client.notify = bar.console.print if bar.live.is_started else note
        task = bar.add_task("waiting", total=None)
        waiting.look(job)
        for event in client.events(job["id"]):
            match event:
                case None:
                    waiting.look(client.job(job["id"]))
                case {"type": "progress"}:
                    bar.update(task, description=event["phase"], completed=event["done"], total=event["total"])
                case {"type": "status", "status": "retrying"}:
                    client.notify(f"{event['message']} Trying again in {event['retry_in_s']:.0f} s.")
                case {"type": "error"}:
                    raise ClientError(event["message"], event["code"])
                case {"type": "cancelled"}:
                    raise ClientError("The pull was cancelled; what had come is kept.", "cancelled")


def _bar(wanted: bool) -> Progress:
    columns = (
        TextColumn("{task.description:>8}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    return Progress(*columns, console=console, disable=not (wanted and sys.stderr.isatty()), transient=True)


# --- use


@command.command("use")
@click.argument("name", metavar="NAME")
@click.option("--for", "kind", default="chat", show_default=True, help="The kind of work: chat, summary …")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text for people.")
def use(name: str, kind: str, as_json: bool) -> None:
    """Make NAME the house's model, from the next message on. Who has chosen one keeps it."""
    from storage import llm_defaults
    from storage.database import transaction

    settings = get_settings()
    provider, model_id = _require(settings, name)
    if not _has_database():
        raise ClientError("There is no database yet: start Backchannel once, or run `backchannel db upgrade`.", "empty")
    with _stored(), transaction() as session:
        llm_defaults.choose(session, kind, provider, model_id)
    if as_json:
        print_json({"kind": kind, "provider": provider, "model": model_id})
    else:
        click.echo(f"{printable(model_id)} is the house's model for {printable(kind)}, from the next message on.")


def _require(settings: Settings, name: str) -> tuple[str, str]:
    """Provider and id. Raises ClientError when there is no such model, or its provider is not set up."""
    spec = catalogue.identify(settings, name, _served())
    known = catalogue.providers(settings)
    if spec is None:
        provider_id, rest = catalogue.split_name(name)
        if provider_id not in known or not rest or not known[provider_id].models_from_server:
            here = ", ".join(catalogue.local_models(settings)) or "none yet"
            raise ClientError(
                f"There is no model {printable(name)!r}. Local models: {here}; `backchannel models list` shows all.",
                "not_found",
            )
        spec = catalogue.server_model(known[provider_id], rest)
    provider = known.get(spec.provider)
    if provider is not None and not provider.is_configured:
        raise ClientError(
            f"{spec.name} is served by {provider.label}: set {catalogue.setting_of(provider.id)} first.", "conflict"
        )
    return spec.provider, spec.id


def _served() -> dict[str, list[str]]:
    """What the workers heard from servers, where workers run."""
    import redis

    from storage import presence

    try:
        workers = presence.present()
    except redis.RedisError:
        return {}
    return {
        name: [model["id"] for model in told.get("models", ())]
        for worker in workers
        for name, told in worker.providers.items()
    }


# --- remove


@command.command("remove")
@click.argument("name", metavar="NAME")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text for people.")
def remove(name: str, yes: bool, as_json: bool) -> None:
    """Remove a pulled model from the disk, or what has come of one that was not pulled to its end."""
    settings = get_settings()
    if parts := voice_models.wanted(settings, name):
        _remove_voice(settings, name, list(parts), yes, as_json)
        return
    files = _files_of(settings, name)
    size = sum(file.stat().st_size for file in files)
    if _house_default() == name:
        note(f"{name} is the house's model; without it the next one that is there answers.")
    if not yes:
        click.confirm(f"Remove {printable(name)} ({decimal(size)})?", abort=True, err=True)
    kinds = _forget(name)
    # The first file first: without it there is no model, only remains.
    for file in files:
        file.unlink(missing_ok=True)
    if as_json:
        print_json({"removed": name, "files": [file.name for file in files], "bytes": size, "was_default_for": kinds})
    else:
        click.echo(f"Removed {printable(name)}: {decimal(size)} are free again.")


def _remove_voice(settings: Settings, name: str, parts: list[str], yes: bool, as_json: bool) -> None:
    """Raises ClientError."""
    places = [(voice_models.folder(settings, part), voice_models.on_its_way(settings, part)) for part in parts]
    folders = [one for place in places for one in place if one.is_dir()]
    if not folders:
        raise ClientError(f"Nothing of {printable(name)} was pulled.", "not_found")
    files = [file for folder in folders for file in folder.iterdir()]
    size = sum(file.stat().st_size for file in files)
    if not yes:
        click.confirm(f"Remove {printable(name)} ({decimal(size)})?", abort=True, err=True)
    for folder in folders:
        shutil.rmtree(folder)
    if as_json:
        print_json({"removed": name, "files": sorted(file.name for file in files), "bytes": size})
    else:
        click.echo(f"Removed {printable(name)}: {decimal(size)} are free again.")


def _files_of(settings: Settings, name: str) -> list[Path]:
    """All that belongs to a model in the models folder. Raises ClientError."""
    folder = catalogue.models_dir(settings)
    path = catalogue.local_models(settings).get(name)
    if path is not None and path.parent.resolve() != folder.resolve():
        raise ClientError(
            f"{printable(name)} is the file of MODEL_PATH, which lies outside of DATA_DIR: remove it yourself.",
            "conflict",
        )
    beside = {file.name: file for file in folder.glob("*")} if folder.is_dir() else {}
    whole = catalogue.parts_of(path) if path is not None else []
    stems = [file.name for file in whole] or [f"{name}.gguf"]
    files = [
        beside[f"{stem}{ending}"]
        for stem in stems
        for ending in ("", ".json", ".part", ".part.json")
        if f"{stem}{ending}" in beside
    ]
    if not files:
        here = ", ".join(catalogue.local_models(settings)) or "none"
        raise ClientError(f"There is no local model {printable(name)!r}; there are: {here}.", "not_found")
    return files


def _forget(name: str) -> list[str]:
    """Nobody has it as a default any more. Returns the kinds of work that had."""
    from storage import llm_defaults
    from storage.database import transaction

    if not _has_database():
        return []
    with _stored(), transaction() as session:
        return llm_defaults.forget_model(session, LOCAL, name)


def _has_database() -> bool:
    """Looking must not make one."""
    url = get_settings().database
    return not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()


@contextlib.contextmanager
def _stored() -> Iterator[None]:
    from storage.database import DatabaseError

    try:
        yield
    except DatabaseError as error:
        raise ClientError("The database cannot be written to; `backchannel doctor` says why.", "unavailable") from error
