"""A model of several files: pulled beside its folder, which it replaces once it is whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.voice_models import ORIGIN
from workers.hub.choice import HubFile
from workers.hub.download import Pull, Pulled, require_no_page, sync_folder
from workers.hub.hashes import hashes_of
from workers.hub.parts import write_json


@dataclass
class FolderPull(Pull):
    """`folder` becomes the model's own; on its way the model lies beside it, in `folder`.part."""

    place: Path = field(init=False)

    def __post_init__(self) -> None:
        self.place, self.folder = self.folder, self.folder.with_name(f"{self.folder.name}.part")

    def run(self) -> Pulled:
        files = self.found.model.files
        if self._is_in_place():
            told = self._told()["files"]
            return Pulled(self._name(), told[files[0].path]["sha256"], self.found.model.size, 0)
        pulled = Pull.run(self)
        return Pulled(self._name(), pulled.sha256, pulled.size, pulled.fetched)

    def _name(self) -> str:
        """What people and events call it."""
        first = self.found.model.files[0].name
        return first.removesuffix(".onnx") if first.endswith(".onnx") else self.found.repo.rpartition("/")[2]

    def _told(self) -> dict[str, Any]:
        try:
            found = json.loads((self.place / ORIGIN).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _is_in_place(self) -> bool:
        """The very files that the hub has now."""
        told = self._told().get("files")
        files = self.found.model.files
        return (
            isinstance(told, dict)
            and told.keys() == {file.path for file in files}
            and all(self._is_same(file, told[file.path]) for file in files)
        )

    def _is_same(self, file: HubFile, told: dict[str, Any]) -> bool:
        path = self.place / file.saved_as
        hashed = told.get("sha256") == file.sha256 if file.sha256 is not None else told.get("git_id") == file.git_id
        return hashed and path.is_file() and path.stat().st_size == file.size

    # --- what is different from a model that is one file

    def _is_here(self, file: HubFile) -> bool:
        """Whole in the folder on its way: an earlier try ended while it put them in place."""
        path = self._part(file).whole
        if not path.is_file() or path.stat().st_size != file.size:
            return False
        self.tell("checking", self._before)
        hashes = hashes_of(path, self.check)
        self._sha256[file.path] = hashes.sha256
        return hashes.fit(file)

    def _require_kind(self, block: bytes, file: HubFile) -> None:
        require_no_page(block, file)

    def _put_in_place(self, missing: list[HubFile]) -> None:
        self.check()
        files = self.found.model.files
        for file in missing:
            self._part(file).finish()
        known = {file.saved_as for file in files}
        for other in self.folder.iterdir():  # of another model, that was not pulled to its end
            if other.name not in known:
                other.unlink()
        write_json(self.folder / ORIGIN, self._origin())
        sync_folder(self.folder)
        former = self.place.with_name(f"{self.place.name}.old")
        shutil.rmtree(former, ignore_errors=True)
        if self.place.exists():
            self.place.replace(former)
        self.folder.replace(self.place)
        sync_folder(self.place.parent)
        shutil.rmtree(former, ignore_errors=True)

    def _origin(self) -> dict[str, Any]:
        return {
            "name": self._name(),
            "reference": self.reference,
            "repo": self.found.repo,
            "revision": self.found.revision,
            "files": {
                file.path: {"sha256": self._sha256[file.path], "git_id": file.git_id, "bytes": file.size}
                for file in self.found.model.files
            },
        }
