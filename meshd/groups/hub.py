"""A hub leads announcements: its own process's, and those that nobody leads.

Any process may be one, several at once. The marker of an announcement names the hub that leads it, and each hub that
leads something keeps a record of its own that ends soon after the hub has. So what is led by nobody is found by looking
at markers and hubs alone. Two that lead one announcement do no harm: its record takes one write at a time.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from random import Random

from meshd.errors import BackpressureError, CorruptDataError, MeshError, UnavailableError
from meshd.events import EventBus, Hint
from meshd.groups.announcements import Announcements, Kept, Marker
from meshd.groups.asking import holders_of
from meshd.groups.ear import Ear
from meshd.groups.leading import HubOptions, Leading, Tools, places_of
from meshd.groups.lives import Census, Lives
from meshd.groups.model import Announcement, AnnouncementState
from meshd.groups.offers import announce
from meshd.groups.protocol import next_visit
from meshd.groups.registry import Registry
from meshd.groups.wire import CHANGES, HUBS, Envelope, Post, hub_place
from meshd.ids import new_id

logger = logging.getLogger(__name__)

DEAF_S = 30.0
"""How long a hub listens after the last announcement it led."""
LOOK_AT_NODES_S = 5.0
TELL_EACH_S = 5.0
"""How often a hub that leads something tells those who look only now and then while nothing is open."""
DISTRUST_MS = 60_000
"""How often an announcement is looked at although its hub says that it leads it."""
CROWD = 50
"""With more announcements than this, gaps are asked for less often."""


class Hub:
    """Leads announcements in this process, from `start` to `aclose`."""

    def __init__(  # noqa: PLR0913 -- each is one independent part, all by keyword
        self,
        announcements: Announcements,
        registry: Registry,
        events: EventBus,
        *,
        census: Census,
        name: str = "",
        options: HubOptions | None = None,
        on_sent: Callable[[str, str], None] = lambda sender, to: None,
        rng: Random | None = None,
    ) -> None:
        """`on_sent` is called with sender and addressee of each message; it must not block."""
        self.name = name or f"hub-{new_id()}"
        self.options = options or HubOptions()
        self._announcements = announcements
        self._registry = registry
        self._events = events
        self._census = census
        self._rng = rng or Random()
        self._lives = Lives()
        self._led: dict[str, Leading] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watched: dict[str, set[str]] = {}
        """Announcement → those led here that wait for it, or are a part of it."""
        place = hub_place(self.name)
        self._topics = (place, CHANGES, census.topic)
        post = Post(events, sender=self.name, reply_to=place, on_sent=on_sent)
        self._tools = Tools(
            announcements=announcements,
            registry=registry,
            post=post,
            lives=self._lives,
            options=self.options,
            hub=self.name,
            reply_to=place,
            rng=self._rng,
            interval_ms=self._interval_ms,
            listening=self._listening,
            watch=self._watch,
        )
        self._ear = Ear(events, self._hear, overhear=self._overhear, missed=self._missed)
        self._busy = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._trusted_until: dict[str, int] = {}
        self.taken_over = 0
        """Announcements led here that nobody led any more."""

    @property
    def leads(self) -> Sequence[str]:
        """The announcements led here now."""
        return list(self._led)

    def start(self) -> None:
        """Be able to lead. Costs nothing while nothing is led."""
        self._ear.start()
        self._keeping = asyncio.create_task(self._keep(), name="meshd hub")

    async def aclose(self) -> None:
        """Lead nothing any more; what was led here is taken over by others within seconds."""
        tasks = [*self._tasks.values(), *([] if self._keeping is None else [self._keeping])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._led.clear()
        await self._ear.aclose()
        await self._resign()

    async def announce(self, announcement_id: str, draft: Callable[[int], Announcement]) -> Announcement:
        """Make the announcement, and lead it from then on; return it as it was first written. Nobody is asked yet.

        `draft` makes it of the store's time; it is called twice, for the first time before anything is written.

        Raises:
            InvalidArgumentError: it asks for nothing, for too much, or for something that is over already.
            AlreadyExistsError: there is one of this id.
            BackpressureError: too many are open.
        """

        def made(now_ms: int) -> Announcement:
            return announce(draft(now_ms), now_ms=now_ms, rules=self.options.rules)

        needs = made(self._announcements.now_ms()).needs
        found, _ = await asyncio.gather(
            holders_of(self._registry, needs, salt=announcement_id, most=self.options.most_asked),
            self._listening(),
        )
        try:
            marked = None if self._led else self._tell
            kept = await self._announcements.create(announcement_id, made, by=self.name, marked=marked)
        except BackpressureError:
            raise  # Nothing is kept.
        except (UnavailableError, asyncio.CancelledError):
            self.lead(announcement_id)  # It may be kept all the same, and its marker names this hub.
            raise
        self._lead(Leading(announcement_id, self._tools, kept=kept).with_holders(found))
        return kept.announcement

    def lead(self, announcement_id: str) -> None:
        """Lead an announcement that others made, from where it stands."""
        if announcement_id not in self._led:
            self._lead(Leading(announcement_id, self._tools))

    async def round(self) -> float | None:
        """Lead what nobody leads, and remove what is left over; return when to do so again, `None`: when told.

        Raises:
            UnavailableError: the store is away.
        """
        markers = await self._announcements.open_markers()
        if not markers:
            self._trusted_until.clear()
            return None
        living = await self._announcements.living_hubs()
        for marker in markers:
            is_led = marker.by in living and (marker.by != self.name or marker.id in self._led)
            if marker.id not in self._led and not (is_led and self._is_trusted(marker)):
                await self._take_over(marker, is_led=is_led)
        still = {marker.id for marker in markers}
        self._trusted_until = {name: until for name, until in self._trusted_until.items() if name in still}
        return self.options.look_ms / 1_000 * self._rng.uniform(0.8, 1.2)

    def _is_trusted(self, marker: Marker) -> bool:
        """Return whether the hub that leads it is not to be checked on yet."""
        until = self._trusted_until.setdefault(marker.id, marker.born_ms + DISTRUST_MS)
        return marker.read_ms < until

    async def _take_over(self, marker: Marker, *, is_led: bool) -> None:
        """Lead what is open and led by nobody, or by somebody who does not act; remove what is left of the rest."""
        try:
            kept = await self._announcements.find(marker.id)
        except CorruptDataError as exc:
            logger.warning("%s; nobody leads it", exc)
            return
        if kept is None:
            if marker.age_ms > self.options.litter_ms:
                await self._announcements.forget_marker(marker.id)
        elif kept.announcement.state.is_over:
            await self._announcements.forget_marker(marker.id)
        elif is_led and not self._is_neglected(kept):
            self._trusted_until[marker.id] = kept.read_ms + DISTRUST_MS
        elif await self._announcements.mark(marker, by=self.name):
            logger.info("announcement %s is led here from now on, no more by %s", marker.id, marker.by or "nobody")
            self.taken_over += 1
            self.lead(marker.id)

    def _is_neglected(self, kept: Kept) -> bool:
        visit = next_visit(kept.announcement, now_ms=kept.read_ms, rules=self.options.rules)
        return visit is not None and visit <= kept.read_ms

    def _lead(self, leading: Leading) -> None:
        self._led[leading.id] = leading
        task = asyncio.create_task(leading.run(), name=f"meshd leads {leading.id}")
        self._tasks[leading.id] = task
        task.add_done_callback(lambda _: self._led_to_the_end(leading))
        self._busy.set()

    def _led_to_the_end(self, leading: Leading) -> None:
        self._led.pop(leading.id, None)
        self._tasks.pop(leading.id, None)
        for other in leading.watches:
            watchers = self._watched.get(other, set())
            watchers.discard(leading.id)
            if not watchers:
                self._watched.pop(other, None)

    async def _listening(self) -> None:
        """Return once answers to this hub are heard."""
        self._ear.listen(self._topics)
        self._busy.set()
        await self._ear.heard()

    async def _tell(self) -> None:
        """Say that this hub leads something, also to those who look only now and then while nothing is open.

        Said before the first announcement stands, so that it is found within seconds should this process die at once.
        """
        try:
            await asyncio.gather(
                self._announcements.hub_lives(self.name, lease_ms=self.options.lease_ms),
                self._events.publish(HUBS, {"h": self.name}),
            )
        except UnavailableError as exc:
            logger.debug("hub %s is not heard: %s", self.name, exc)

    def _interval_ms(self) -> int:
        return int(self.options.query_ms * max(1.0, len(self._led) / CROWD) * self._rng.uniform(0.9, 1.1))

    def _hear(self, envelope: Envelope) -> None:
        leading = self._led.get(envelope.announcement)
        if leading is not None:
            leading.hear(envelope)

    def _overhear(self, hint: Hint) -> None:
        if hint.topic == self._census.topic:
            node = self._lives.hear(hint.body)
            if node:
                self._mourn({node})
        elif hint.topic == CHANGES:
            self._changed(hint.body["a"], AnnouncementState(hint.body["s"]))

    def _changed(self, announcement_id: str, state: AnnouncementState) -> None:
        leading = self._led.get(announcement_id)
        if leading is not None:
            leading.changed(state)
        if state.is_over:
            for name in self._watched.pop(announcement_id, ()):
                if name in self._led:
                    self._led[name].other_is_over()

    def _watch(self, announcement_id: str, others: Sequence[str]) -> None:
        for other in others:
            self._watched.setdefault(other, set()).add(announcement_id)

    def _missed(self) -> None:
        """Hints may have been lost: what is led is looked at."""
        for leading in self._led.values():
            leading.look()

    def _mourn(self, nodes: set[str]) -> None:
        for leading in list(self._led.values()):
            leading.mourn(nodes)

    async def _keep(self) -> None:
        """While something is led: say so, and see to the deaths of nodes that nobody told of."""
        while True:
            self._busy.clear()
            if not self._led and not self._ear.is_listening:
                await self._busy.wait()
            try:
                await self._keep_on()
            except UnavailableError as exc:
                logger.debug("hub %s waits: %s", self.name, exc)
            except MeshError:
                logger.exception("hub %s goes on in a while", self.name)
            await asyncio.sleep(self._rng.uniform(0.1, 0.5))

    async def _keep_on(self) -> None:
        """Keep on until nothing has been led for a while."""
        look_s = tell_s = idle_since_s = time.monotonic()
        while (now_s := time.monotonic()) < idle_since_s + DEAF_S:
            if self._led:
                idle_since_s = now_s
                await self._announcements.hub_lives(self.name, lease_ms=self.options.lease_ms)
                if now_s >= tell_s:
                    tell_s = now_s + TELL_EACH_S
                    await self._events.publish(HUBS, {"h": self.name})
            if self._led and now_s >= look_s + LOOK_AT_NODES_S:
                look_s = now_s
                await self._look_at_nodes()
            await asyncio.sleep(self.options.lease_ms / 3_000)
        await self._resign()
        self._ear.listen(())

    async def _look_at_nodes(self) -> None:
        expected = set[tuple[str, int]]()
        for leading in self._led.values():
            if leading.announcement is not None:
                expected.update(places_of(leading.announcement).items())
        if expected:
            self._mourn(self._lives.look(await self._census.here(), expected))

    async def _resign(self) -> None:
        try:
            await self._announcements.hub_resigns(self.name)
        except UnavailableError as exc:
            logger.debug("hub %s ends by itself: %s", self.name, exc)
