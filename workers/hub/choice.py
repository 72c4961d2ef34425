"""Which of a repository's files a person means. Pure.

owner/repository            the usual quantisation
owner/repository:Q4_K_M     that one, however it is spelled in the file's name
owner/repository/file.gguf  that file
…@revision                  as it was then: a branch, a tag or a commit
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from config.errors import NotFound, Unusable

# Small enough for most machines, and hardly worse than the original; then what comes near it.
USUAL = ("Q4_K_M", "Q4_0", "Q5_K_M", "Q8_0")
_TOLD = 12  # names in a sentence

_REFERENCE = re.compile(
    r"(?P<repo>[\w.\-]+/[\w.\-]+)(?:@(?P<early>[\w.\-]+))?"
    r"(?::(?P<quant>[\w.\-]+)|/(?P<path>[\w.\-/]+\.gguf))?(?:@(?P<late>[\w.\-/]+))?",
    re.ASCII | re.IGNORECASE,
)
_PART = re.compile(r"-(\d{5})-of-(\d{5})$")
# A name that may stand in our folder: no separators, nothing hidden, nothing a terminal or a shell would act on.
_FILE_NAME = re.compile(r"[A-Za-z0-9][\w.+()\-]{0,190}\.gguf", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reference:
    repo: str
    revision: str | None = None
    quant: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a repository. `sha256` where the hub tells it, else `git_id`, the hash that git knows it by."""

    path: str
    size: int
    sha256: str | None = None
    git_id: str | None = None

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def stem(self) -> str:
        return self.name[: -len(".gguf")] if self.name.lower().endswith(".gguf") else self.name

    @property
    def saved_as(self) -> str:
        """Its name on our disk."""
        return self.name if self.stem == self.name else f"{self.stem}.gguf"


@dataclass(frozen=True, slots=True)
class HubModel:
    """One model: its files in order, of which llama.cpp is given the first."""

    files: tuple[HubFile, ...]

    @property
    def name(self) -> str:
        return self.files[0].stem

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def label(self) -> str:
        """The path without the part's number: what quantisations are looked for in, and what people are told."""
        path = self.files[0].path[: -len(".gguf")]
        return _PART.sub("", path)


def parse(text: str) -> Reference:
    """Raises Unusable."""
    found = _REFERENCE.fullmatch(text.strip())
    if found is None or (found["early"] and found["late"]) or climbs(text):
        raise Unusable(
            "A model on the hub is named as owner/repository, owner/repository:Q4_K_M or owner/repository/file.gguf."
        )
    return Reference(found["repo"], found["early"] or found["late"], found["quant"], found["path"])


def models_in(files: Iterable[HubFile]) -> list[HubModel]:
    """The models among a repository's files. Left out are projectors for pictures, importance matrices, models whose
    parts are not all there, and names that have no place on a disk."""
    groups: dict[tuple[str, str], dict[int, HubFile]] = {}
    for file in files:
        if not _FILE_NAME.fullmatch(file.name) or climbs(file.path) or _is_beside_a_model(file.stem):
            continue
        part = _PART.search(file.stem)
        number, total = (part[1], part[2]) if part else ("1", "")
        key = (_PART.sub("", file.path[: -len(".gguf")]), total)
        groups.setdefault(key, {})[int(number)] = file
    models = []
    for (_, total), parts in groups.items():
        if sorted(parts) == list(range(1, int(total or 1) + 1)):
            models.append(HubModel(tuple(parts[number] for number in sorted(parts))))
    return sorted(models, key=lambda model: model.label)


def choose(reference: Reference, models: Sequence[HubModel]) -> HubModel:
    """The one that is meant. Raises NotFound, which tells what there is, or Unusable when several fit equally."""
    if not models:
        raise NotFound(f"The repository {reference.repo} holds no GGUF model.")
    if reference.path is not None:
        for model in models:
            if reference.path in [file.path for file in model.files]:
                return model
        raise NotFound(f"The repository {reference.repo} holds no {reference.path}; it has {_told(models)}.")
    if reference.quant is not None:
        found = _of_quant(models, reference.quant)
        if not found:
            raise NotFound(
                f"The repository {reference.repo} holds no quantisation {reference.quant}; it has {_told(models)}."
            )
        return _only(reference, found)
    for quant in USUAL:
        if found := _of_quant(models, quant):
            return _only(reference, found)
    return min(models, key=lambda model: (model.size, model.label))


def _of_quant(models: Sequence[HubModel], quant: str) -> list[tuple[HubModel, str]]:
    """Models of this quantisation, each with what stands before it in its name: file names first, then folders."""
    word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(quant)}(?![A-Za-z0-9_])", re.IGNORECASE)
    for labels in ([model.label.rpartition("/")[2] for model in models], [model.label for model in models]):
        found = [
            (model, label[: match.start()])
            for model, label in zip(models, labels, strict=True)
            if (match := word.search(label))
        ]
        if found:
            return found
    return []


def _only(reference: Reference, found: list[tuple[HubModel, str]]) -> HubModel:
    """Variants of one model (`name-UD-Q4_K_XL` beside `name-Q4_K_XL`) yield to the plain one; two models do not."""
    model, plain = min(found, key=lambda one: (len(one[1]), len(one[0].label), one[0].label))
    others = [other for other, before in found if other is not model and not (plain and before.startswith(plain))]
    if others:
        raise Unusable(
            f"Several files of {reference.repo} fit; name one of them: {_told([model, *others])}, each with .gguf."
        )
    return model


def _told(models: Sequence[HubModel]) -> str:
    names = [model.label for model in models[:_TOLD]]
    more = f" and {len(models) - _TOLD} more" if len(models) > _TOLD else ""
    return ", ".join(names) + more


def climbs(path: str) -> bool:
    return any(step in ("", ".", "..") for step in path.split("/"))


def _is_beside_a_model(stem: str) -> bool:
    return "mmproj" in stem.lower() or re.fullmatch(r"(?i)(.*[._-])?imatrix", stem) is not None
