"""Fair shares: how much each owner of a class has been given, on a clock of service (weighted fair queuing)."""

from __future__ import annotations

from collections import Counter


class Shares:
    """The clock runs with the service the class gives, divided by who wants it: where an equally served owner stands.
    Whoever comes, or comes back, begins there: absence earns nothing, and nobody waits behind newcomers for ever."""

    def __init__(self) -> None:
        self._clock = 0.0
        self._given: dict[str, float] = {}
        self._live: Counter[str] = Counter()

    def enter(self, owner: str) -> None:
        if not self._live[owner]:
            self._given[owner] = max(self._given.get(owner, 0.0), self._clock)
        self._live[owner] += 1

    def leave(self, owner: str) -> None:
        self._live[owner] -= 1
        if self._live[owner] <= 0:
            del self._live[owner]
            self._given = {
                name: given for name, given in self._given.items() if name in self._live or given > self._clock
            }

    def serve(self, owner: str, tokens: int) -> None:
        self._given[owner] += tokens
        self._clock += tokens / len(self._live)

    def given(self, owner: str) -> float:
        return self._given.get(owner, self._clock)
