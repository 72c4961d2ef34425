"""Which files of a repository make up a model of several files. Pure.

owner/repository, owner/repository/folder, either with @revision behind it
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from config.errors import NotFound, Unusable
from workers.hub.choice import HubFile, HubModel, Reference, climbs

_REFERENCE = re.compile(r"(?P<repo>[\w.\-]+/[\w.\-]+)(?P<folder>(?:/[\w.\-]+)*)(?:@(?P<revision>[\w.\-]+))?", re.ASCII)
# A name that may stand in our folder: no separators, nothing hidden, nothing a terminal or a shell would act on.
_SAFE = re.compile(r"[A-Za-z0-9][\w.+()\-]{0,190}", re.ASCII)

# Part → alternatives, the better first: patterns of which each must fit one file, the model itself first; then those
# that may.
_RECIPES: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {
    "transcriber": (
        (("model.bin", "config.json", "tokenizer.json"), ("vocabulary.*", "preprocessor_config.json")),
        (("model.bin", "config.json", "vocabulary.*"), ("preprocessor_config.json",)),
    ),
    "speaker": (
        (("kokoro*.onnx", "voices*.bin"), ()),
        (("*.onnx", "*.onnx.json"), ()),
    ),
    "emotion": tuple(
        (
            (weights, "config.json", tokenizer),
            ("tokenizer*.json", "vocab.*", "merges.txt", "special_tokens_map.json", "*.model"),
        )
        for weights in ("model.safetensors", "pytorch_model.bin")
        for tokenizer in ("tokenizer.json", "tokenizer_config.json", "vocab.*")
    ),
}


@dataclass(frozen=True, slots=True)
class FolderReference:
    hub: Reference
    folder: str  # within the repository; empty for its top


def parse_folder(text: str) -> FolderReference:
    """Raises Unusable."""
    found = _REFERENCE.fullmatch(text.strip())
    if found is None or climbs(found["repo"] + found["folder"]):
        raise Unusable("A part of the voice is named as owner/repository or owner/repository/folder.")
    return FolderReference(Reference(found["repo"], found["revision"]), found["folder"].strip("/"))


def choose_files(part: str, reference: FolderReference, files: Sequence[HubFile]) -> HubModel:
    """The model first. Raises NotFound where something is missing, Unusable where several models are there."""
    inside = [file for file in files if _SAFE.fullmatch(file.name) and file.path.rpartition("/")[0] == reference.folder]
    for needed, more in _RECIPES[part]:
        fitting = [[file for file in inside if fnmatchcase(file.name, pattern)] for pattern in needed]
        if not all(fitting):
            continue
        _require_one(reference, fitting[0])
        found = [_beside(fitting[0][0], fit) for fit in fitting]
        found += [file for file in inside if any(fnmatchcase(file.name, pattern) for pattern in more)]
        return HubModel(tuple(dict.fromkeys(found)))
    wanted = " or ".join(dict.fromkeys(needed[0] for needed, _ in _RECIPES[part]))
    place = "/".join(filter(None, (reference.hub.repo, reference.folder)))
    raise NotFound(f"{place} on the hub is no {part}: it has no {wanted} with what belongs to it.")


def _require_one(reference: FolderReference, models: Sequence[HubFile]) -> None:
    if len(models) > 1:
        names = ", ".join(file.name for file in models[:12])
        raise Unusable(f"{reference.hub.repo} holds several models in that folder: {names}.")


def _beside(model: HubFile, fitting: Sequence[HubFile]) -> HubFile:
    """The one of the model's own name, where there is one."""
    own: Callable[[HubFile], bool] = lambda file: file.name in (model.name, f"{model.name}.json")  # noqa: E731
    return next(filter(own, fitting), fitting[0])
