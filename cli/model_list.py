"""What `backchannel models list` shows."""

from __future__ import annotations

from typing import Any

import click
from rich.filesize import decimal
from rich.text import Text

from cli.output import note, printable, show, table
from config import catalogue, voice_models
from config.catalogue import EXTRACTIVE, LOCAL
from config.settings import Settings

Json = dict[str, Any]


def print_list(found: Json) -> None:
    """`found` as GET /api/models tells it."""
    local = found["models"][LOCAL]["available"]
    if local:
        listing = table("model", "size", "state", "from", numbers=("size",))
        for model in local:
            size = decimal(model["bytes"]) if model["bytes"] else "–"
            listing.add_row(
                _name(model["id"], found["default_model"]), size, printable(_state(model)), model["repo"] or ""
            )
        show(listing)
    else:
        note("There is no local model yet; `backchannel models pull` fetches one.")
    _print_voice(found.get("voice") or [])
    click.echo()
    listing = table("provider", "state", "models")
    for name, provider in found["models"].items():
        if name not in (LOCAL, EXTRACTIVE):
            listing.add_row(Text(printable(provider["label"])), _provider_state(provider), _names(provider, found))
    show(listing)
    click.echo(f"\nThe house's model is {printable(found['default_model'])}.")


def _print_voice(parts: list[Json]) -> None:
    """Without any there is nothing to say: what is built in serves."""
    if parts:
        click.echo()
        listing = table("voice", "model", "size", "from", numbers=("size",))
        for part in parts:
            listing.add_row(part["part"], printable(part["name"]), decimal(part["bytes"]), part["repo"] or "")
        show(listing)


def without_a_server(settings: Settings, default: str | None) -> Json:
    """As the server tells it, as far as it is known without one."""
    local = [
        {"id": name, "bytes": sum(file.stat().st_size for file in catalogue.parts_of(path)),
         "state": "on disk" if path.exists() else "missing", "repo": catalogue.origin(path).get("repo")}
        for name, path in catalogue.local_models(settings).items()
    ]  # fmt: skip
    remote_ones = {
        name: {
            "label": provider.label,
            "configured": provider.is_configured,
            "status": "set up",
            "available": [{"id": model_id} for model_id in provider.models],
        }
        for name, provider in catalogue.providers(settings).items()
    }
    default = default or catalogue.first_name(settings)
    return {
        "models": {LOCAL: {"available": local}, **remote_ones},
        "default_model": default,
        "voice": voice_models.here(settings),
    }


def _name(name: str, default: str) -> Text:
    return Text(f"{printable(name)} (default)" if name == default else printable(name))


def _state(model: Json) -> str:
    words = {"ready": "loaded", "not_loaded": "on disk", "leaving": "being unloaded"}
    state = words.get(model["state"], str(model["state"]))
    if model.get("progress") is not None:
        state = f"{state}, {100 * model['progress']:.0f} %"
    return f"{state}: {model['detail']}" if model.get("detail") else state


def _provider_state(provider: Json) -> Text:
    if not provider["configured"]:
        return Text("not set up")
    return Text(str(provider.get("detail") or provider["status"]))


def _names(provider: Json, found: Json) -> Text:
    return Text(", ".join(str(_name(model["id"], found["default_model"])) for model in provider["available"]))
