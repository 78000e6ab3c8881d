"""The pulse: a thread with its own event loop and its own connection that keeps the node alive in the mesh.

A handler that blocks the node's loop therefore never costs it its membership or its leases. The pulse joins, beats,
renews every lease the node holds, does its share of the upkeep, and leaves. What it learns it hands to the node through
`PulseListener`, on the node's own loop.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from time import monotonic
from typing import Protocol, TypeVar, cast

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.errors import ConflictError, MeshError, NotFoundError, UnavailableError
from meshd.events import Hint
from meshd.nodes.model import Beat, Membership, NodeProfile, Vitals, node_topic
from meshd.runtime.arrival import once_reachable
from meshd.runtime.holds import Holds
from meshd.runtime.outage import Outage
from meshd.runtime.prober import Prober
from meshd.tasks.model import Outcome
from meshd.tasks.store import DUE_TOPIC, MAX_BATCH
from meshd.upkeep import keep_up

logger = logging.getLogger(__name__)

T = TypeVar("T")


MISSED_BEATS = 2.5
"""Beats without an answer after which this node takes itself for cut off."""
QUIET_SWEEPS = 4
"""While there is no task that time could make due, tasks are swept so many times less often."""
JUDGED_EVERY_S = 60.0
"""How often each node looks for dead nodes to forget; silent ones are judged as soon as a beat tells of them."""


class PulseListener(Protocol):
    """What the pulse tells the node; called on the node's loop."""

    def joined(self, membership: Membership) -> None:
        """The node is a member, for the first time or again under a new incarnation."""
        ...

    def failed(self, error: BaseException) -> None:
        """The pulse has ended, and the node's membership with it.

        Another process joined under its name, or the store cannot be used.
        """
        ...

    def drain_requested(self, requested: bool) -> None: ...

    def lost(self, task_ids: Sequence[str]) -> None:
        """These tasks are no longer the node's: their handlers must stop, and whatever they return is dropped."""
        ...

    def cancel_requested(self, task_ids: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseSettings:
    """Where to beat, and how the node looks at each moment."""

    url: str
    options: BackendOptions
    profile: Callable[[], NodeProfile]
    vitals: Callable[[], Vitals]
    holds: Holds
    prober: Prober
    patience_s: float
    """How long to wait for a store that is away when the node starts."""


class Pulse:
    """Start once, then close once. Closing leaves the mesh."""

    def __init__(self, settings: PulseSettings, listener: PulseListener) -> None:
        self._settings = settings
        self._listener = listener
        self._prober = settings.prober
        self._rng = Random()
        self._outage = Outage(logger, "the heartbeat")
        self._node_loop = asyncio.get_running_loop()
        self._first_join: asyncio.Future[Membership] = self._node_loop.create_future()
        self._ended: asyncio.Future[None] = self._node_loop.create_future()
        self._thread = threading.Thread(target=self._run, name="meshd-pulse", daemon=True)
        self._pulse_loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._stopping = False
        self._beat_now = False
        self._renew_now = False
        self._announce_now = False
        self._live_nodes = 1
        self._is_quiet = False
        self._is_due = False
        self._answered = monotonic()
        self._drain_requested = False
        self._membership = Membership(node_id="", incarnation=0)

    async def start(self) -> Membership:
        """Join the mesh and keep beating; return the first membership.

        Raises:
            MeshError: the store cannot be used; the pulse has ended.
        """
        self._thread.start()
        return await asyncio.shield(self._first_join)

    async def aclose(self) -> None:
        """Leave the mesh and end the thread. Idempotent."""
        self._stopping = True
        self._nudge()
        if self._thread.ident is not None:
            await asyncio.shield(self._ended)

    @property
    def silent_ms(self) -> int:
        """How long the store has answered no beat; 0 while that is not longer than beats may take."""
        silent_ms = round((monotonic() - self._answered) * 1000)
        return silent_ms if silent_ms > MISSED_BEATS * self._settings.options.nodes.heartbeat_ms else 0

    def beat_soon(self) -> None:
        """Beat now: the node's status changed."""
        self._beat_now = True
        self._nudge()

    def renew_soon(self) -> None:
        """Renew every lease now. May be called from any thread."""
        self._renew_now = True
        self._nudge()

    def announce_soon(self) -> None:
        """Publish the node's profile anew: it declares something else now."""
        self._announce_now = True
        self._nudge()

    def _nudge(self) -> None:
        loop = self._pulse_loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake.set)

    def _tell(self, callback: Callable[[], None]) -> None:
        if not self._node_loop.is_closed():
            self._node_loop.call_soon_threadsafe(callback)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._live())
        except BaseException as exc:
            error = _cause_of(exc)
            logger.debug("pulse ended", exc_info=True)
        self._tell(lambda: self._end(error))

    def _end(self, error: BaseException | None) -> None:
        if not self._first_join.done():
            self._first_join.set_exception(error or MeshError("the node stopped before it had joined"))
            self._first_join.exception()
        elif error is not None:
            self._listener.failed(error)
        if not self._ended.done():
            self._ended.set_result(None)

    async def _live(self) -> None:
        self._pulse_loop = asyncio.get_running_loop()
        backend = await self._patiently(lambda: open_backend(self._settings.url, self._settings.options))
        try:
            await self._patiently(lambda: self._prober.open(backend))
            await self._patiently(lambda: self._join(backend))
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(self._listen(backend))
                probing = group.create_task(self._prober.run(backend))
                await self._beat_until_stopped(backend)
                listening.cancel()
                probing.cancel()
            await self._leave(backend)
        finally:
            await self._prober.aclose()
            await backend.aclose()

    async def _patiently(self, action: Callable[[], Awaitable[T]]) -> T:
        return await once_reachable(
            action,
            patience_s=self._settings.patience_s,
            outage=self._outage,
            stopped=lambda: self._stopping,
            rng=self._rng,
        )

    async def _listen(self, backend: Backend) -> None:
        """Beat and renew at once when somebody calls: a cancel or a drain should not wait for the next round."""
        while True:
            try:
                async with backend.events.subscribe(node_topic(self._settings.profile().id), DUE_TOPIC) as subscription:
                    while True:
                        hint = await subscription.get(timeout_ms=60_000)
                        if hint is not None:
                            self._heard(hint)
            except UnavailableError:
                await asyncio.sleep(self._rng.uniform(0.1, 0.5))

    def _heard(self, hint: Hint) -> None:
        if hint.topic == DUE_TOPIC:
            self._is_due = True
        else:
            self._beat_now = self._renew_now = True
        self._wake.set()

    async def _join(self, backend: Backend) -> None:
        profile = self._prober.located(self._settings.profile())
        membership = await backend.nodes.join(profile, self._settings.vitals())
        self._membership = membership
        self._answered = monotonic()
        self._prober.joined(membership)
        await backend.tasks.reclaim(profile.id, up_to_incarnation=membership.incarnation - 1)

        def tell() -> None:
            if not self._first_join.done():
                self._first_join.set_result(membership)
            self._listener.joined(membership)

        self._tell(tell)

    async def _leave(self, backend: Backend) -> None:
        try:
            if self._beat_now:
                await self._beat(backend)
            await backend.nodes.leave(self._membership)
            await backend.tasks.reclaim(self._membership.node_id, up_to_incarnation=self._membership.incarnation)
        except (UnavailableError, ConflictError, NotFoundError) as exc:
            logger.warning("left without telling the mesh, which will notice by itself: %s", exc)

    async def _beat_until_stopped(self, backend: Backend) -> None:
        now = asyncio.get_running_loop().time
        timings = self._settings.options
        next_beat = now()
        next_renewal = now() + timings.tasks.renew_ms / 1000
        next_upkeep = now() + self._upkeep_interval()
        next_judgement = now()
        while not self._stopping:
            self._wake.clear()
            try:
                if self._announce_now:
                    self._announce_now = False
                    await backend.nodes.announce(self._membership, self._prober.located(self._settings.profile()))
                if self._beat_now or now() >= next_beat:
                    self._beat_now = False
                    next_beat = now() + timings.nodes.heartbeat_ms / 1000
                    if await self._beat(backend):
                        next_upkeep = next_judgement = now()
                if self._renew_now or now() >= next_renewal:
                    self._renew_now = False
                    next_renewal = now() + timings.tasks.renew_ms / 1000
                    await self._renew(backend)
                if self._is_due or (self._is_quiet and self._settings.holds.all()):
                    self._is_due = self._is_quiet = False
                    next_upkeep = min(next_upkeep, now() + self._upkeep_interval())
                if now() >= next_upkeep:
                    judge_nodes = now() >= next_judgement
                    if judge_nodes:
                        next_judgement = now() + JUDGED_EVERY_S * self._rng.uniform(0.75, 1.25)
                    next_upkeep = now() + self._upkeep_interval()
                    done = await keep_up(backend, judge_nodes=judge_nodes)
                    self._is_quiet = done.tasks.is_quiet
                    next_upkeep = now() + self._upkeep_interval()
            except NotFoundError as exc:
                logger.warning("the mesh no longer knows this node (%s); joining again", exc)
                await self._rejoin(backend)
            except UnavailableError as exc:
                self._outage.met(exc)
                self._prober.unheard()
                next_beat = now() + self._rng.uniform(0.1, 0.5)
            await self._sleep(min(next_beat, next_renewal, next_upkeep) - now())

    async def _rejoin(self, backend: Backend) -> None:
        try:
            await self._join(backend)
        except UnavailableError as exc:
            self._outage.met(exc)
            self._beat_now = True
            await self._sleep(self._rng.uniform(0.1, 0.5))
        else:
            self._renew_now = True

    async def _beat(self, backend: Backend) -> bool:
        """Beat; return whether there are silent nodes to judge."""
        beat: Beat = await backend.nodes.heartbeat(self._membership, self._settings.vitals())
        self._answered = monotonic()
        self._outage.over()
        self._live_nodes = beat.live_nodes
        self._prober.beaten(beat)
        if beat.drain_requested != self._drain_requested:
            self._drain_requested = beat.drain_requested
            self._tell(lambda: self._listener.drain_requested(beat.drain_requested))
        return beat.silent_nodes > 0

    async def _renew(self, backend: Backend) -> None:
        holds = self._settings.holds.to_renew()
        lease_ms = self._settings.options.tasks.lease_ms
        for start in range(0, len(holds), MAX_BATCH):
            batch = holds[start : start + MAX_BATCH]
            outcomes = await backend.tasks.renew(batch, lease_ms=lease_ms)
            answers = list(zip(batch, outcomes, strict=True))
            cancels = [hold.task_id for hold, outcome in answers if outcome is Outcome.CANCEL_REQUESTED]
            gone = (Outcome.FENCED, Outcome.MISSING, Outcome.EXPIRED)
            lost = [hold.task_id for hold, outcome in answers if outcome in gone]
            if cancels:
                self._tell(partial(self._listener.cancel_requested, cancels))
            if lost:
                self._tell(partial(self._listener.lost, lost))

    def _upkeep_interval(self) -> float:
        """Seconds until this node's next round: the more nodes, the rarer each, so the store sees a constant rate."""
        rarer = QUIET_SWEEPS if self._is_quiet else 1
        base = self._settings.options.tasks.sweep_ms / 1000 * max(1, self._live_nodes) * rarer
        return base * self._rng.uniform(0.75, 1.25)

    async def _sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()


def _cause_of(error: BaseException) -> BaseException:
    """Return the error a task group wrapped, or `error` itself."""
    while isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        error = group.exceptions[0]
    return error
