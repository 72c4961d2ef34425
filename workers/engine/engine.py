"""The loop: one thread that decodes every live sequence in one batch, step by step.

submit ─▶ inbox ─▶ scheduler ─plan─▶ runner ─logits─▶ sampler ─▶ events ─▶ Answer.stream

Context overflow: nothing is shifted out while an answer is written. A prompt must leave room for at least one token
(whoever makes it cuts the history, and says so); an answer ends with "length" where the context does, and its asker may
go on with less history (docs/decisions/0009).
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from config.errors import BackchannelError, DeadlineExceeded, ModelUnavailable, PromptTooLong, Unusable
from workers.engine.answer import Answer, Live
from workers.engine.model import Model
from workers.engine.prefixes import Prefixes
from workers.engine.runner import CACHE_TYPES, MIB, CacheFull, Runner, RunnerOptions
from workers.engine.scheduler import Limits, Scheduler
from workers.engine.sequence import Plan, Prompt, Restore, Sequence, Step
from workers.engine.shelf import Shelf
from workers.engine.states import States
from workers.engine.stats import Gauges, Stats

log = logging.getLogger(__name__)

# Failures one after the other, without a step between them, after which the engine gives up.
_MAX_FAILURES = 3
# With Python's 5 ms the loop would wait that long for the GIL after each decode wherever another thread computes.
_SWITCH_S = 0.0005


@dataclass(frozen=True, slots=True)
class EngineOptions:
    runner: RunnerOptions = field(default_factory=RunnerOptions)
    limits: Limits = field(default_factory=Limits)  # `running` and `batch` follow from the runner
    reuse: bool = True  # of what other prompts began with
    cache_dir: Path | None = None  # where idle conversations' caches go when their slot is needed; None: nowhere
    cache_dir_mb: int = 2048


class Engine:
    def __init__(
        self, model: Model, options: EngineOptions | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Takes the model over: `close` closes it. Raises ModelUnavailable."""
        self.model = model
        self.name = model.name
        self._options = options or EngineOptions()
        self._states = self._open_states(self._options)
        self._runner = Runner(model, self._options.runner, self._states)
        self.context_tokens = self._runner.context_tokens
        self._clock = clock
        self._scheduler = self._new_scheduler()
        self._live: dict[Sequence, Live] = {}
        # None only wakes; an Event is set when all is forgotten.
        self._inbox: queue.SimpleQueue[Live | threading.Event | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # between submit and the end of the loop
        self._closing, self._ended, self._failures = False, False, 0
        self._gauges = Gauges(self._runner.slots)
        self._pid = os.getpid()
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_S))
        self._thread = threading.Thread(target=self._run, name=f"engine {self.name}", daemon=True)
        self._thread.start()

    @classmethod
    def load(
        cls, path: Path, options: EngineOptions | None = None, *, name: str | None = None, n_gpu_layers: int = 0
    ) -> Engine:
        model = Model(path, name=name, n_gpu_layers=n_gpu_layers)
        try:
            return cls(model, options)
        except BaseException:
            model.close()
            raise

    def close(self) -> None:
        """Ends the loop after its step; what is live fails as retryable. Harmless when closed."""
        self._closing = True
        self._inbox.put(None)
        if self._pid != os.getpid():  # the thread and the memory are another process's
            return
        self._thread.join()
        self._runner.close()
        if self._states is not None:
            self._states.close()
        self.model.close()

    def submit(self, prompt: Prompt) -> Answer:
        """Any thread. Raises PromptTooLong, Unusable, ModelUnavailable."""
        if self._pid != os.getpid():
            raise ModelUnavailable(f"The model {self.name} was loaded before this process was forked.")
        self._check(prompt)
        now = self._clock()
        sequence = Sequence(
            [*prompt.tokens, *prompt.resumed],
            limit=min(len(prompt.tokens) + prompt.sampling.max_tokens, self.context_tokens),
            priority=prompt.priority,
            owner=prompt.owner,
            arrived=now,
            deadline=None if prompt.deadline_s is None else now + prompt.deadline_s,
            job_id=prompt.job_id,
        )
        with self._lock:
            if self._ended or self._closing:
                raise self._unavailable("is not running")
            live = Live(self.model, prompt, sequence)
            if live.over:
                live.end(live.over)
            else:
                self._inbox.put(live)
        return Answer(live, lambda: self._inbox.put(None))

    @property
    def is_running(self) -> bool:
        """False once it was closed or has given up after failures in a row: load another."""
        return not (self._ended or self._closing)

    def stats(self) -> Stats:
        return self._gauges.stats

    def waiting(self, answer: Answer) -> tuple[int, float | None] | None:
        """The place in the queue (1 is next) and about how many seconds it means, None where nothing ended yet; None
        when it does not wait."""
        return self._gauges.waiting(answer.sequence)

    def waiting_jobs(self) -> dict[str, tuple[int, float | None]]:
        """The same of all who wait, by the job they belong to."""
        return self._gauges.waiting_jobs()

    def forget_saved(self) -> None:
        """Drops every cache of what was said, in memory and on disk; of what is being answered, when that ends. Done
        when it returns, after a step at most and what is just being written."""
        if self._pid != os.getpid():
            return
        done = threading.Event()
        with self._lock:
            if self._ended:
                done.set()
            else:
                self._inbox.put(done)
        done.wait()
        if self._states is not None:
            self._states.clear()

    # --- the loop's thread

    def _run(self) -> None:
        try:
            while not self._closing and self._failures < _MAX_FAILURES:
                try:
                    self._turn()
                except Exception:
                    log.exception("the engine failed; its answers will be tried again")
                    self._failures += 1
                    self._start_anew()
        finally:
            with self._lock:
                self._ended = True
            self._take_in(wait=False)
            self._fail_all(self._unavailable("was closed" if self._closing else "failed while answering"))

    def _turn(self) -> None:
        now = self._clock()
        plan = self._scheduler.schedule(now)
        for ended in plan.ended:
            live = self._live.pop(ended.sequence)
            if ended.reason == "deadline":
                live.fail(DeadlineExceeded("The answer was not complete at its deadline."))
            else:
                live.end("cancelled")
        self._carry_out(plan)
        if plan.steps:
            self._step(plan.steps)
        elif self._scheduler.waiting and not self._scheduler.running:
            raise RuntimeError("somebody waits, nobody runs, and still there is no room")
        self._gauges.look(self._scheduler, self._clock())
        scheduler = self._scheduler
        self._take_in(wait=not (scheduler.running or scheduler.waiting or scheduler.prefixes.operations))

    def _take_in(self, *, wait: bool) -> None:
        """Waits for something to do when there is nothing; takes all that came."""
        try:
            while not (wait and self._closing):
                came = self._inbox.get(block=wait)
                wait = False
                if isinstance(came, threading.Event):
                    self._scheduler.forget()
                    came.set()
                elif came is not None:
                    self._live[came.sequence] = came
                    self._scheduler.submit(came.sequence)
        except queue.Empty:
            pass

    def _carry_out(self, plan: Plan) -> None:
        for operation in plan.operations:
            if self._runner.carry_out(operation):
                continue
            if isinstance(operation, Restore):  # its file was lost, or never written
                self._scheduler.prefixes.shelf.drop(operation.key)
            late = self._scheduler.lost(operation.slot)
            plan.steps = [step for step in plan.steps if step.sequence is not late]

    def _step(self, steps: list[Step]) -> None:
        started = self._clock()
        try:
            places = self._runner.decode(steps)
        except CacheFull:
            # The book says there is room. Idle caches are given up for the difference.
            self._scheduler.prefixes.forget_idle()
            self._carry_out(self._scheduler.flush())
            places = self._runner.decode(steps)
        self._failures = 0
        self._scheduler.computed(steps)
        for step, place in places:
            self._draw(self._live[step.sequence], place)
        now = self._clock()
        self._scheduler.took(steps, now - started)
        self._gauges.stepped(steps, len(places), now)

    def _draw(self, live: Live, place: int) -> None:
        try:
            reason = live.draw(self._runner.context, place)
        except Exception:  # a fault of this answer alone
            log.exception("an answer failed")
            self._leave(live)
            live.fail(self._unavailable("failed while answering"))
            return
        if reason is not None:
            self._leave(live)
            live.end(reason)

    def _leave(self, live: Live) -> None:
        now = self._clock()
        self._gauges.left(live.sequence, now)
        self._scheduler.finish(live.sequence, now)
        del self._live[live.sequence]

    # --- failing

    def _start_anew(self) -> None:
        self._fail_all(self._unavailable("failed while answering"))
        self._runner.clear()
        self._scheduler = self._new_scheduler()

    def _fail_all(self, error: BackchannelError) -> None:
        for live in self._live.values():
            live.fail(error)
        self._live.clear()

    def _unavailable(self, what: str) -> ModelUnavailable:
        return ModelUnavailable(f"The model {self.name} {what}.")

    def _new_scheduler(self) -> Scheduler:
        runner = self._runner
        prefixes = Prefixes(
            runner.sequences,
            runner.room,
            shared=runner.unified,
            partial=not self.model.recurrent,
            reuse=self._options.reuse,
            shelf=self._new_shelf(),
        )
        return Scheduler(replace(self._options.limits, running=runner.slots, batch=runner.batch), prefixes)

    def _open_states(self, options: EngineOptions) -> States | None:
        if options.cache_dir is None or not options.reuse:
            return None
        runner = options.runner
        return States(options.cache_dir, f"{self.model.identity} {runner.cache_type} {runner.flash_attention}")

    def _new_shelf(self) -> Shelf:
        if self._states is None:
            return Shelf(0)
        element_bytes = CACHE_TYPES[self._options.runner.cache_type][1]
        room = int(self._options.cache_dir_mb * MIB / self.model.cache_bytes_per_token(element_bytes))
        return Shelf(room, self._states.kept())

    def _check(self, prompt: Prompt) -> None:
        if not prompt.tokens or not all(map(self.model.knows, prompt.tokens + prompt.resumed)):
            raise Unusable(f"The prompt is empty, or has tokens that the model {self.name} does not know.")
        for token in prompt.sampling.logit_bias or ():
            if not (token.isdecimal() and self.model.knows(int(token))):
                raise Unusable(f"logit_bias names the token {token!r}, which the model {self.name} does not know.")
        if len(prompt.tokens) >= self.context_tokens:
            raise PromptTooLong(
                f"The prompt has {len(prompt.tokens)} tokens; the model {self.name} reads "
                f"{self.context_tokens} together with its answer."
            )
