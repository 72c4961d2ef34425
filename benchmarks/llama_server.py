"""llama.cpp's own server as a baseline: the one that LLAMA_SERVER names, or one built from the sources that
llama-cpp-python is published with, around the very libraries this installation decodes with."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import distribution, version
from pathlib import Path

from benchmarks.house import free_port
from benchmarks.processes import Child, Trouble, clean_environment

_PACKAGE = "llama-cpp-python"
_RECIPE = Path(__file__).parent / "cmake"
_TAIL = 1500


def executable(say: Callable[[str], None]) -> Path:
    """Builds it where that was not done before (minutes, and a download). Raises Trouble."""
    if named := os.environ.get("LLAMA_SERVER"):
        if not os.access(named, os.X_OK):
            raise Trouble("LLAMA_SERVER names nothing that can be run.")
        return Path(named).resolve()
    libraries = Path(str(distribution(_PACKAGE).locate_file("llama_cpp"))).resolve() / "lib"
    built = _cache(libraries) / "llama-server"
    if not built.exists():
        for tool in ("cmake", "c++"):
            if shutil.which(tool) is None:
                raise Trouble(f"llama-server cannot be built: {tool} is missing.")
        say("building llama-server, this once")
        built.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=built.parent) as folder:
            _build(Path(folder), libraries).replace(built)
    return built


def _cache(libraries: Path) -> Path:
    """One for each version and place of the libraries: the server knows where they are."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()
    place = hashlib.sha256(str(libraries).encode() + (_RECIPE / "CMakeLists.txt").read_bytes()).hexdigest()[:12]
    return cache / "backchannel-benchmarks" / f"llama-server-{version(_PACKAGE)}-{place}"


def _build(folder: Path, libraries: Path) -> Path:
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", _PACKAGE)
    _command("download llama.cpp's sources", *pip, "--dest", str(folder), f"{_PACKAGE}=={version(_PACKAGE)}")
    shutil.unpack_archive(next(folder.glob("*.tar.gz")), folder)
    sources = next(folder.glob("*/vendor/llama.cpp"))
    build = folder / "build"
    _command(
        "prepare the build of llama-server",
        "cmake", "-S", str(_RECIPE), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release",
        f"-DSOURCES={sources}", f"-DLIBRARIES={libraries}",
    )  # fmt: skip
    _command("build llama-server", "cmake", "--build", str(build), "--parallel", str(os.cpu_count() or 1))
    return build / "llama-server"


def _command(what: str, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"could not {what}:\n{(done.stdout + done.stderr)[-_TAIL:]}")


@contextmanager
def running(
    program: Path, folder: Path, model: Path, *, context: int, slots: int, batch: int, threads: int, gpu: bool
) -> Iterator[tuple[int, int]]:
    """Its port and process id. `context` tokens for each slot; a cache like ours: split on a CPU, shared on a GPU."""
    port = free_port()
    cache = ("--kv-unified", "-c", str(4 * context)) if gpu else ("--no-kv-unified", "-c", str(slots * context))
    child = Child(
        "llama-server", str(program), "--host", "127.0.0.1", "--port", str(port), "-m", str(model), "--offline",
        "-np", str(slots), "-b", str(batch), "-ub", str(batch), "-t", str(threads), "-tb", str(threads),
        "-ngl", "99" if gpu else "0", "-fa", "auto", *cache,
        folder=folder, env=clean_environment(),
    )  # fmt: skip
    try:
        child.wait_ready(lambda: _serves(port, model))
        yield port, child.pid
    finally:
        child.stop()


def _serves(port: int, model: Path) -> bool:
    """Whoever answers there must be the one that was started: an orphan once answered for another model."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/props")
        props = json.load(connection.getresponse())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    if props.get("error"):  # it is still loading
        return False
    if props.get("model_path") != str(model):
        raise Trouble(f"port {port} was taken by another server")
    return True
