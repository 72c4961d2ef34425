"""The parts of the voice that can be pulled: where each comes from, where it lies, which are there.

`voice` means all of them, `voice:speaker` that one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from config.settings import Settings

VOICE = "voice"
PARTS = ("transcriber", "speaker", "emotion")
ORIGIN = ".origin.json"  # in a part's folder: name, repo, revision, reference, files

# A file of these is there when the part is.
_MAIN = {"transcriber": "model.bin", "speaker": "*.onnx", "emotion": "config.json"}


def folder(settings: Settings, part: str) -> Path:
    return settings.data_dir / "models" / VOICE / part


def on_its_way(settings: Settings, part: str) -> Path:
    """Where one lies that was not pulled to its end."""
    place = folder(settings, part)
    return place.with_name(f"{place.name}.part")


def wanted(settings: Settings, name: str) -> dict[str, str]:
    """Part → reference on the hub, of what `name` means; empty where it means no part of the voice."""
    references = {
        "transcriber": settings.voice_transcriber_repo,
        "speaker": settings.voice_speaker_repo,
        "emotion": settings.voice_emotion_repo,
    }
    return {part: references[part] for part in PARTS if name in (VOICE, f"{VOICE}:{part}")}


def origin(settings: Settings, part: str) -> dict[str, Any]:
    """Empty for one that was not pulled."""
    try:
        found = json.loads((folder(settings, part) / ORIGIN).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_here(settings: Settings, part: str) -> bool:
    return any(folder(settings, part).glob(_MAIN[part]))


def here(settings: Settings) -> list[dict[str, Any]]:
    """`part`, `name`, `repo` (None for one that was put there by hand) and `bytes` of each that is there."""
    found = []
    for part in PARTS:
        if is_here(settings, part):
            told = origin(settings, part)
            size = sum(file.stat().st_size for file in folder(settings, part).iterdir() if file.is_file())
            found.append({"part": part, "name": told.get("name") or part, "repo": told.get("repo"), "bytes": size})
    return found
