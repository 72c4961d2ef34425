"""What the engine tells about itself. Written by the loop's thread, read by any: whole values are replaced, never
changed."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from workers.engine.scheduler import Scheduler
from workers.engine.sequence import Priority, Sequence, Step

# How often the queue is put in order for those who ask, and the window the speed is taken over.
_EVERY_S = 0.25
_WINDOW_S = 5.0
# An answer that takes longer than most goes on a while: for this part of the usual time.
_OVERDUE = 0.2

Place = tuple[int, float | None]


@dataclass(frozen=True, slots=True)
class Stats:
    slots: int
    running: int = 0
    waiting: int = 0
    cache_tokens: int = 0  # held, idle conversations included
    cache_room: int = 0
    tokens_per_second: float = 0.0  # drawn, over the last seconds of work
    prefill_per_second: float = 0.0
    drawn: int = 0  # since the start, as are the next two
    read: int = 0  # prompt tokens decoded
    reused: int = 0  # prompt tokens taken over from the cache
    answer_s: float | None = None  # what an answer takes from its slot to its end, of late; None before the first


class Gauges:
    def __init__(self, slots: int) -> None:
        self.stats = Stats(slots)
        self._slots = slots
        self._queue: dict[Sequence, Place] = {}
        self._looked_at = float("-inf")
        self._drawn = self._read = self._reused = 0
        self._window = (0.0, 0, 0)  # since when, and what was drawn and read before
        self._speed = (0.0, 0.0)
        self._answer_s: float | None = None
        self._answers_s: dict[Priority, float] = {}

    def stepped(self, steps: Iterable[Step], drawn: int, now: float) -> None:
        self._drawn += drawn
        for step in steps:
            self._read += step.count if step.count > 1 else 0
            if step.start == step.sequence.reused:  # its first since it was let in
                self._reused += step.start
        since, drawn_before, read_before = self._window
        if now - since > _WINDOW_S:
            if since:
                self._speed = (self._drawn - drawn_before) / (now - since), (self._read - read_before) / (now - since)
            self._window = (now, self._drawn, self._read)

    def left(self, sequence: Sequence, now: float) -> None:
        took, of_class = now - sequence.admitted, self._answers_s.get(sequence.priority)
        self._answer_s = took if self._answer_s is None else self._answer_s + 0.2 * (took - self._answer_s)
        self._answers_s[sequence.priority] = took if of_class is None else of_class + 0.2 * (took - of_class)

    def look(self, scheduler: Scheduler, now: float) -> None:
        if now - self._looked_at >= _EVERY_S or len(scheduler.waiting) != self.stats.waiting:
            self._looked_at = now
            self._queue = self._places(scheduler, now) if scheduler.waiting else {}
        prefixes = scheduler.prefixes
        self.stats = Stats(
            slots=self._slots,
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            cache_tokens=prefixes.used,
            cache_room=prefixes.room if prefixes.shared else prefixes.room * len(prefixes.slots),
            tokens_per_second=self._speed[0],
            prefill_per_second=self._speed[1],
            drawn=self._drawn,
            read=self._read,
            reused=self._reused,
            answer_s=self._answer_s,
        )

    def waiting(self, sequence: Sequence) -> Place | None:
        return None if sequence.slot is not None else self._queue.get(sequence)

    def waiting_jobs(self) -> dict[str, Place]:
        return {one.job_id: place for one, place in self._queue.items() if one.job_id and one.slot is None}

    def _places(self, scheduler: Scheduler, now: float) -> dict[Sequence, Place]:
        """Each takes the slot that is free first, for as long as answers of its class take."""
        queue = scheduler.queue(now)
        mean = self._answer_s
        if mean is None:
            return {sequence: (place, None) for place, sequence in enumerate(queue, start=1)}
        means = {priority: self._answers_s.get(priority, mean) for priority in Priority}
        free = [
            max(means[one.priority] - (now - one.admitted), _OVERDUE * means[one.priority]) for one in scheduler.running
        ] or [0.0]
        heapq.heapify(free)
        places: dict[Sequence, Place] = {}
        for place, sequence in enumerate(queue, start=1):
            begins = free[0]
            heapq.heapreplace(free, begins + means[sequence.priority])
            places[sequence] = place, begins
        return places
