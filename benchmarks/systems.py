"""Four ways to have the same model answer many talkers, with the same slots, context, batch and threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import llama_server
from benchmarks.bench import Bench
from benchmarks.house import House
from benchmarks.processes import Peer, Trouble, clean_environment
from benchmarks.talk import Heard, Talk, questions
from benchmarks.usage import cpu_seconds

HOUSE, ENGINE = "the whole system", "`workers.llm.local` alone"
SERVER, LLAMA = "llama-server", "`Llama` under a lock"
SLOTS, CONTEXT, BATCH = 8, 2048, 512
LIMIT_S = 300.0

Converse = Callable[[list[Talk]], list[list[Heard]]]


@dataclass(slots=True)
class Systems:
    """Those that could be opened, by name, and in words which could not. `pids` are those of a system's own processes:
    its talkers' is not among them unless they are threads beside the model."""

    threads: int
    gpu: bool = False
    version: str = ""
    converse: dict[str, Converse] = field(default_factory=dict)
    pids: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def cpu_seconds(self, name: str) -> float:
        return sum(map(cpu_seconds, self.pids[name]))

    @property
    def about(self) -> str:
        place = "on the GPU" if self.gpu else f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return (
            f"A model of random weights in the shape of SmolLM2-135M (Q8_0), llama-cpp-python {self.version}, {place}, "
            f"{SLOTS} slots of {CONTEXT} tokens, batches of {BATCH}, greedy"
        )


@contextmanager
def opened(bench: Bench, *names: str) -> Iterator[Systems]:
    """Every system in processes of its own, warmed up."""
    systems = Systems(bench.threads)
    with ExitStack() as stack:
        engine = stack.enter_context(_peer(bench, "engine", "benchmarks.in_process"))
        facts = engine.call("facts")
        systems.gpu, systems.version = facts["gpu"], facts["version"]
        model = make_model(engine, bench.folder)
        for name in names:
            bench.say(f"opening {name}")
            try:
                systems.converse[name], systems.pids[name] = _open(bench, stack, name, engine, model, systems.gpu)
            except Trouble as trouble:
                if name != SERVER:
                    raise
                systems.notes.append(f"Without llama-server: {str(trouble).splitlines()[0]}")
                bench.say(str(trouble))
        for place, converse in enumerate(systems.converse.values()):
            converse([Talk(questions(1, 20, seed=900 + place), 4)])
        yield systems


def _open(
    bench: Bench, stack: ExitStack, name: str, engine: Peer, model: Path, gpu: bool
) -> tuple[Converse, list[int]]:
    shape = {"context": CONTEXT, "batch": BATCH, "threads": bench.threads}
    match name:
        case "the whole system":
            house = stack.enter_context(House(bench.folder / "house", **house_settings(model, bench.threads)))
            house.start("web", "generate", "background", "beat")
            talking = partial(_over_http, house.peer("benchmarks.over_http"), "backchannel", house.port)
            return talking, [child.pid for child in house.children.values()]
        case "llama-server":
            program = llama_server.executable(bench.say)
            serving = llama_server.running(program, bench.folder, model, slots=SLOTS, gpu=gpu, **shape)
            port, pid = stack.enter_context(serving)
            talkers = stack.enter_context(_peer(bench, "client", "benchmarks.over_http"))
            return partial(_over_http, talkers, name, port), [pid]
        case "`workers.llm.local` alone":
            engine.call("open_engine", path=str(model), slots=SLOTS, **shape)
            return partial(_in_process, engine), [engine.pid]
    llama = stack.enter_context(_peer(bench, "llama", "benchmarks.in_process"))
    llama.call("open_llama", path=str(model), **shape)
    return partial(_in_process, llama), [llama.pid]


def make_model(peer: Peer, folder: Path) -> Path:
    path = folder / "random-135m.gguf"
    peer.call("make_model", path=str(path))
    return path


def house_settings(model: Path, threads: int) -> dict[str, str]:
    shape = {"MODEL_N_CTX": CONTEXT, "MODEL_SLOTS": SLOTS, "MODEL_N_THREADS": threads}
    # The same question is asked in every round.
    return {"MODEL_PATH": str(model), "ENABLE_CACHE": "false", **{name: str(value) for name, value in shape.items()}}


def _peer(bench: Bench, name: str, module: str) -> Peer:
    folder = bench.folder / name
    folder.mkdir()
    return Peer(module, folder=folder, env=clean_environment())


def _in_process(peer: Peer, talks: list[Talk]) -> list[list[Heard]]:
    return heard_by(talks, peer.call("converse", LIMIT_S, talks=[asdict(talk) for talk in talks]))


def _over_http(peer: Peer, system: str, port: int, talks: list[Talk]) -> list[list[Heard]]:
    found = peer.call("converse", LIMIT_S, system=system, port=port, talks=[asdict(talk) for talk in talks])
    return heard_by(talks, found)


def heard_by(talks: list[Talk], found: list[list[Mapping[str, Any]]]) -> list[list[Heard]]:
    """Raises Trouble where an answer is not what was asked for: a speed would mean nothing."""
    heard = [[Heard(**answer) for answer in answers] for answers in found]
    for talk, answers in zip(talks, heard, strict=True):
        for answer in answers:
            if answer.ended is not None and (answer.tokens != talk.tokens or not answer.times):
                raise Trouble(f"an answer has {answer.tokens} tokens instead of {talk.tokens}")
    return heard
