"""The local models of this process: loaded when they are asked for, several where memory allows, one load at a time.

Callers wait in their own threads. One thread, there while somebody waits, does what `roster.py` decides: it measures
the file, lets what must go finish its answers, closes it and loads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from config.errors import BackchannelError, ModelUnavailable, Unavailable
from workers.roster import Resident, Roster, Size, Ticket

log = logging.getLogger(__name__)

# A model that could not be loaded is not tried again for every chat: reading a broken file takes seconds.
LOAD_PAUSE_S = 30.0
POLL_S = 0.25  # how often a caller that waits is asked whether it still wants to

QUIET_S = 1.0  # a load that is over so soon says nothing in between

OnWait = Callable[[str, float | None], None]


class Closable(Protocol):
    def close(self) -> None: ...


M = TypeVar("M", bound=Closable)


class Loader(Protocol[M]):
    """What touches files and memory. Names are those `use` is called with."""

    def stamp(self, name: str) -> Hashable:
        """Changes when the model's file does; None when it is not there."""
        ...

    def measure(self, name: str) -> Size:
        """Raises ModelUnavailable when the file is none that can be loaded."""
        ...

    def free(self, residents: Sequence[Resident[M]]) -> int:
        """Bytes that may be taken beside the `residents`."""
        ...

    def load(self, name: str, cache_bytes: int, progress: Callable[[float], bool]) -> M:
        """`progress` is told how far it is, 0 to 1, and answers False when loading is to end. Raises
        ModelUnavailable."""
        ...

    def is_running(self, model: M) -> bool: ...

    def facts(self, model: M) -> dict[str, Any]:
        """What is told of the model to those who watch."""
        ...


@dataclass(slots=True)
class _Load:
    """What the loading thread is busy with. `progress` None: it has not begun to read."""

    name: str
    progress: float | None = None


class Residents(Generic[M]):
    def __init__(self, loader: Loader[M], *, poll_s: float = POLL_S) -> None:
        self._loader = loader
        self._poll_s = poll_s
        self._changed = threading.Condition()
        self._roster: Roster[M] = Roster()
        self._stamps: dict[str, Hashable] = {}
        self._failures: dict[str, tuple[float, BackchannelError]] = {}
        self._load: _Load | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    @contextmanager
    def use(self, name: str, on_wait: OnWait | None = None) -> Iterator[M]:
        """The model, which stays for as long as the block runs. Use one at a time: who holds one model and waits for
        another may wait for itself.

        `on_wait` is called while the caller has to wait, with "loading_model" and how far that is, or with
        "switching_model" while others' answers are finished first; what it raises ends the wait.
        Raises ModelUnavailable, and Unavailable once this was closed.
        """
        ticket = self._ask(name)
        try:
            yield self._wait(ticket, on_wait)
        finally:
            with self._changed:
                self._roster.give_up(ticket)
                self._changed.notify_all()

    def models(self) -> list[M]:
        with self._changed:
            return [resident.model for resident in self._roster.residents.values()]

    def states(self) -> list[dict[str, Any]]:
        """Every model that is resident or on its way: name, state, users and memory, progress."""
        with self._changed:
            told: list[dict[str, Any]] = [
                {
                    "name": resident.name,
                    "state": "leaving" if resident.leaving else "ready",
                    "users": resident.users,
                    "memory_mb": resident.held // 2**20,
                    **resident.facts,
                }
                for resident in self._roster.residents.values()
            ]
            if self._load is not None:
                told.append({"name": self._load.name, "state": "loading", "progress": self._load.progress})
            return told

    def failure(self, name: str) -> BackchannelError | None:
        """Why the model could not be loaded when that was last tried."""
        with self._changed:
            return self._failures[name][1] if name in self._failures else None

    def close(self) -> None:
        """Ends a load, closes every model and refuses whoever comes. What is answered meanwhile fails as retryable."""
        with self._changed:
            self._closing = True
            for name in {ticket.name for ticket in self._roster.queue}:
                self._roster.fail(name, _stopping())
            thread = self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join()
        with self._changed:
            residents = list(self._roster.residents.values())
            self._roster.residents.clear()
        for resident in residents:
            resident.model.close()

    # --- callers

    def _ask(self, name: str) -> Ticket[M]:
        stamp = self._loader.stamp(name)
        with self._changed:
            if self._closing:
                raise _stopping()
            resident = self._roster.residents.get(name)
            if resident is not None:
                changed = stamp is not None and stamp != self._stamps.get(name)
                if not self._loader.is_running(resident.model) or (changed and not resident.users):
                    resident.outdated = True
            if (resident is None or resident.outdated) and (failed := self._failures.get(name)):
                at, error = failed
                if time.monotonic() - at < LOAD_PAUSE_S:
                    raise _own(error)
            ticket = self._roster.ask(name)
            if ticket.waits and self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="models", daemon=True)
                self._thread.start()
            return ticket

    def _wait(self, ticket: Ticket[M], on_wait: OnWait | None) -> M:
        while True:
            with self._changed:
                if ticket.error is not None:
                    raise _own(ticket.error)
                if ticket.resident is not None:
                    return ticket.resident.model
                reason, progress = self._reason(ticket.name)
            if on_wait is not None:
                on_wait(reason, progress)
            with self._changed:
                self._changed.wait_for(lambda: not ticket.waits, self._poll_s)

    def _reason(self, name: str) -> tuple[str, float | None]:
        if self._load is not None and self._load.name != name:
            return "switching_model", None
        if any(resident.leaving for resident in self._roster.residents.values()):
            return "switching_model", None
        return "loading_model", self._load.progress if self._load else None

    # --- the loading thread

    def _serve(self) -> None:
        while True:
            with self._changed:
                name = self._roster.first
                if name is None:
                    self._thread = None
                    return
                self._load = _Load(name)
            try:
                self._bring_in(name)
            except BackchannelError as error:
                log.error("the model %s was not loaded: %s", name, error.detail)
                self._settle(name, error)
            except Exception:
                log.exception("the model %s was not loaded", name)
                self._settle(name, ModelUnavailable(f"The model {name} cannot be loaded; the log has the details."))
            finally:
                with self._changed:
                    self._load = None

    def _bring_in(self, name: str) -> None:
        stamp = self._loader.stamp(name)
        size = self._loader.measure(name)  # nobody leaves for a broken file
        going = self._empty(name, size)
        if going is None:
            return
        _close(going)
        cache = self._affordable(size)
        started = time.monotonic()
        log.info("loading the model %s", name)
        try:
            model = self._loader.load(name, cache, self._progress(name))
        except ModelUnavailable:
            # Measuring found nothing wrong, so it may be the memory after all.
            with self._changed:
                idle = [] if self._closing else self._roster.clear_idle()
            if not idle:
                raise
            _close(idle)
            model = self._loader.load(name, cache, self._progress(name))
        log.info("the model %s was loaded in %.1f s", name, time.monotonic() - started)
        with self._changed:
            self._stamps[name] = stamp
            self._failures.pop(name, None)
            self._load = None  # now: a model is told once, as loading or as what became of it
            self._roster.bring_in(Resident(name, model, size.weights, cache, self._loader.facts(model)))
            self._changed.notify_all()

    def _empty(self, name: str, size: Size) -> list[Resident[M]] | None:
        """Waits until what must go is used by nobody; None when nobody waits for `name` any longer."""
        with self._changed:
            while True:
                if self._roster.first != name:
                    self._roster.stay()
                    self._changed.notify_all()
                    return None
                free = self._loader.free(list(self._roster.residents.values()))
                going = self._roster.make_room(name, size, free)
                self._changed.notify_all()
                if going is not None:
                    return going
                self._changed.wait()

    def _affordable(self, size: Size) -> int:
        with self._changed:
            free = self._loader.free(list(self._roster.residents.values()))
        return min(size.cache, max(size.least_cache, free - size.weights))

    def _progress(self, name: str) -> Callable[[float], bool]:
        quarters, started = [0.75, 0.5, 0.25], time.monotonic()

        def told(fraction: float) -> bool:
            load = self._load
            if load is not None:
                load.progress = fraction
            while quarters and fraction >= quarters[-1]:
                percent = 100 * quarters.pop()
                if time.monotonic() - started >= QUIET_S:
                    log.info("the model %s is loaded to %d %%", name, percent)
            return not self._closing

        return told

    def _settle(self, name: str, error: BackchannelError) -> None:
        with self._changed:
            if self._closing:
                error = _stopping()
            else:
                self._failures[name] = time.monotonic(), error
            self._load = None
            self._roster.fail(name, error)
            self._changed.notify_all()


def _stopping() -> Unavailable:
    # Not ModelUnavailable: nobody else should answer in the model's place because this process stops.
    return Unavailable("The worker is stopping; the answer is tried again.")


def _own(error: BackchannelError) -> BackchannelError:
    """For each thread that raises it: a traceback would grow with every one."""
    return type(error)(error.detail)


def _close(residents: Sequence[Resident[Any]]) -> None:
    for resident in residents:
        log.info("closing the model %s to make room", resident.name)
        resident.model.close()
