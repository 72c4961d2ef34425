"""/images: the owner's pictures and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from config.settings import get_settings
from tests import documents
from tests.api.helpers import faithh_problem

Client = TestClient[Litestar]


@pytest.fixture
def folder(client: Client) -> Path:
    made = get_settings().data_dir / "images"
    made.mkdir(parents=True)
    return made


def test_a_picture_is_served_and_cached(client: Client, folder: Path) -> None:
    (folder / "happy face.png").write_bytes(documents.png())
    answer = client.get("/images/happy face.png")
    assert (answer.status_code, answer.content) == (200, documents.png())
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = client.get("/images/happy face.png", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    (folder / "happy face.png").write_bytes(documents.png(2))
    assert client.get("/images/happy face.png", headers={"if-none-match": answer.headers["etag"]}).status_code == 200


def test_a_drawing_runs_no_script(client: Client, folder: Path) -> None:
    (folder / "a.svg").write_bytes(documents.SVG)
    answer = client.get("/images/a.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "name",
    [
        "missing.png", "%2e%2e", "..%2fsecret.png", "%2e%2e%2fsecret.png", "..%5csecret.png", "%2fetc%2fpasswd",
        ".hidden.png", "notes.txt", "page.png", "inner", "inner%2fa.png", "link.png", "a%00.png", "x" * 300 + ".png",
    ],
)  # fmt: skip
def test_nothing_else_is_there(client: Client, folder: Path, name: str) -> None:
    (folder.parent / "secret.png").write_bytes(documents.png())
    (folder / ".hidden.png").write_bytes(documents.png())
    (folder / "notes.txt").write_text("notes")
    (folder / "page.png").write_text("<script>alert(1)</script>")
    (folder / "inner").mkdir()
    (folder / "inner" / "a.png").write_bytes(documents.png())
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    faithh_problem(client.get(f"/images/{name}"), 404)


def test_without_a_folder(client: Client) -> None:
    faithh_problem(client.get("/images/a.png"), 404)
