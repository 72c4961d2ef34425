"""Which local models are resident, who waits for one, and which must go for it. Pure: no threads, no files, no clock.

Who asks for a resident model has it at once. Others queue; the model of the first is brought in next, and with it come
all who wait for it. Where memory is short, models go that nobody uses, the one used longest ago first. When that is not
enough, one that is in use is told to leave: who has it keeps it, who comes later queues behind the one it leaves for.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from config.errors import BackchannelError, ModelUnavailable

M = TypeVar("M")
_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes. `least_cache` is a cache of one conversation: the whole `cache` is taken where there is room for it."""

    weights: int
    cache: int
    least_cache: int

    @property
    def full(self) -> int:
        return self.weights + self.cache

    @property
    def least(self) -> int:
        return self.weights + self.least_cache


@dataclass(eq=False, slots=True)
class Resident(Generic[M]):
    name: str
    model: M
    weights: int  # bytes
    cache: int  # bytes
    facts: dict[str, Any] = field(default_factory=dict)  # for those who watch
    users: int = 0
    used: int = 0  # when last, counted in uses of any
    leaving: bool = False
    outdated: bool = False  # its engine gave up, or its file changed: another is loaded in its place

    @property
    def held(self) -> int:
        return self.weights + self.cache

    @property
    def is_open(self) -> bool:
        return not (self.leaving or self.outdated)


@dataclass(eq=False, slots=True)
class Ticket(Generic[M]):
    """One who asked: has the `resident`, or an `error`, or waits."""

    name: str
    resident: Resident[M] | None = None
    error: BackchannelError | None = None

    @property
    def waits(self) -> bool:
        return self.resident is None and self.error is None


class Roster(Generic[M]):
    def __init__(self) -> None:
        self.residents: dict[str, Resident[M]] = {}
        self.queue: list[Ticket[M]] = []
        self._uses = itertools.count(1)

    @property
    def first(self) -> str | None:
        """The model to bring in next."""
        return self.queue[0].name if self.queue else None

    def ask(self, name: str) -> Ticket[M]:
        ticket: Ticket[M] = Ticket(name)
        self.queue.append(ticket)
        self._admit()
        return ticket

    def give_up(self, ticket: Ticket[M]) -> None:
        """Whether it waits or has the model; harmless when it has neither."""
        if ticket.resident is not None:
            ticket.resident.users -= 1
            ticket.resident.used = next(self._uses)
            ticket.resident = None
        elif ticket in self.queue:
            self.queue.remove(ticket)

    def make_room(self, name: str, size: Size, free: int) -> list[Resident[M]] | None:
        """Takes off the list, and returns, what must be closed before `name` is loaded; None while one of them is
        still in use. `free`: bytes that may be taken beside all that is resident. Raises ModelUnavailable when the
        model would not fit alone."""
        total = free + sum(resident.held for resident in self.residents.values())
        if size.least > total:
            raise ModelUnavailable(
                f"The model {name} needs about {-(-size.least // _MB)} MB of memory, and language models may take "
                f"{max(total, 0) // _MB} MB."
            )
        going = self._going(name, min(size.full, total) - free)
        for resident in self.residents.values():
            resident.leaving = resident in going
        self._admit()
        if any(resident.users for resident in going):
            return None
        return self._remove(going)

    def clear_idle(self) -> list[Resident[M]]:
        """Takes off the list, and returns, all that nobody uses."""
        return self._remove([resident for resident in self.residents.values() if not resident.users])

    def stay(self) -> None:
        """Nobody has to leave any longer."""
        for resident in self.residents.values():
            resident.leaving = False
        self._admit()

    def bring_in(self, resident: Resident[M]) -> None:
        resident.used = next(self._uses)
        self.residents[resident.name] = resident
        self.stay()

    def fail(self, name: str, error: BackchannelError) -> None:
        """All who wait for the model are told why they do not get it."""
        for ticket in self.queue:
            if ticket.name == name:
                ticket.error = error
        self.queue = [ticket for ticket in self.queue if ticket.waits]
        self.stay()

    def _going(self, name: str, missing: int) -> list[Resident[M]]:
        outdated = self.residents.get(name)
        if outdated is not None:
            missing -= outdated.held
        going: list[Resident[M]] = []
        others = (resident for resident in self.residents.values() if resident is not outdated)
        # One that leaves already goes on leaving: two in use that took turns would both never be empty.
        for resident in sorted(others, key=lambda one: (one.users > 0, not one.leaving, one.used)):
            if missing <= 0:
                break
            going.append(resident)
            missing -= resident.held
        for resident in list(going):  # a large one may have made the small ones before it needless
            if resident.held <= -missing:
                going.remove(resident)
                missing += resident.held
        return going if outdated is None else [outdated, *going]

    def _admit(self) -> None:
        for ticket in self.queue:
            resident = self.residents.get(ticket.name)
            if resident is not None and resident.is_open:
                resident.users += 1
                resident.used = next(self._uses)
                ticket.resident = resident
        self.queue = [ticket for ticket in self.queue if ticket.waits]

    def _remove(self, going: list[Resident[M]]) -> list[Resident[M]]:
        for resident in going:
            del self.residents[resident.name]
        return going
