"""A node's part in working groups: hears what is said to its agents, answers, and looks after what they hold.

Nothing held and nothing asked costs nothing beyond saying now and then what the agents can do. What was not heard is
found by looks: at once after a gap, and every few seconds at holds that are due.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from meshd.errors import FencedError, MeshError, UnavailableError
from meshd.events import EventBus
from meshd.groups.accepting import Accepting
from meshd.groups.announcements import Announcements
from meshd.groups.answering import Answering
from meshd.groups.behaviour import Behaviour
from meshd.groups.books import Books
from meshd.groups.ear import Ear
from meshd.groups.model import GroupMessage
from meshd.groups.registry import Registry
from meshd.groups.scoring import DEFAULT_RULES, ScoreRules
from meshd.groups.slots import DEFAULT_SLOTS
from meshd.groups.steps import Rules
from meshd.groups.vicinity import Vicinity
from meshd.groups.wire import FREED, Envelope, Post, node_place, place_of

logger = logging.getLogger(__name__)

LOOK_EACH_S = 2.5
"""Between two looks at what is held, while anything is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantOptions:
    """What taking part can be told."""

    rules: Rules = field(default_factory=Rules)
    scores: ScoreRules = DEFAULT_RULES
    slots: int = DEFAULT_SLOTS
    """Groups at once of an agent that says nothing else."""
    renew_s: float = 300.0
    """How often it is said anew what the agents can do."""


class Participant:
    """All agents of one node; use as `async with participant.taking_part(...)`."""

    def __init__(  # noqa: PLR0913 -- each is one independent part, all by keyword
        self,
        announcements: Announcements,
        registry: Registry,
        events: EventBus,
        *,
        node: str,
        incarnation: Callable[[], int],
        options: ParticipantOptions | None = None,
        on_sent: Callable[[str, str], None] = lambda sender, to: None,
        rng: Random | None = None,
    ) -> None:
        """`incarnation` is that of the node's present membership; its agents have the same."""
        self._node = node
        self._incarnation = incarnation
        self._options = options or ParticipantOptions()
        self._rng = rng or Random()
        self._books = Books(registry, node=node)
        self._behaviours: dict[str, Behaviour] = {}
        self._entered_as: dict[str, int] = {}
        self._renew_at_s = time.monotonic() + self._options.renew_s
        vicinity = Vicinity(
            books=self._books,
            announcements=announcements,
            events=events,
            behaviours=self._behaviours,
            node=node,
            rules=self._options.rules,
            scores=self._options.scores,
            rng=self._rng,
            on_sent=on_sent,
        )
        self._answering = Answering(vicinity, Post(events, sender=node, on_sent=on_sent))
        self._accepting = Accepting(vicinity, self._answering)
        self._ear = Ear(events, self._hear, missed=self._look_soon, rng=self._rng)
        self._due = asyncio.Event()
        self._is_leaving = False
        self._places: Mapping[str, str] = {}

    @asynccontextmanager
    async def taking_part(
        self, behaviours: Iterable[Behaviour], *, grace_s: float, hurry: asyncio.Event
    ) -> AsyncGenerator[None]:
        """Let these agents take part for the length of the block; then what runs has a grace, unless in a hurry."""
        for behaviour in behaviours:
            self._behaviours[behaviour.name] = behaviour
        self._ear.start()
        self._listen()
        keeping: asyncio.Task[None] | None = None
        try:
            await self._ear.heard()
            await self._enter_all()
            keeping = asyncio.create_task(self._keep(), name="meshd participant")
            yield
        finally:
            self._is_leaving = True
            await self._withdraw_all()
            await self._accepting.leave(grace_s=grace_s, hurry=hurry)
            if keeping is not None:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
            await self._answering.aclose()
            await self._ear.aclose()

    def _listen(self) -> None:
        self._places = {place_of(agent): agent for agent in self._behaviours}
        self._ear.listen([node_place(self._node), *self._places])

    async def _hear(self, envelope: Envelope) -> None:
        if envelope.type in (GroupMessage.TASK_ANNOUNCE, GroupMessage.SKILL_QUERY):
            await self._answering.asked(envelope)
            return
        agent = self._places.get(envelope.topic)
        if agent is None:
            return
        if envelope.type is GroupMessage.GROUP_INVITE:
            await self._accepting.invited(agent, envelope)
        elif envelope.type == FREED:
            await self._accepting.freed(agent, envelope.announcement, envelope.payload["round"])
        else:
            await self._accepting.said(agent, envelope)

    def _look_soon(self) -> None:
        self._due.set()

    async def _keep(self) -> None:
        """Look after what is held, and say anew what the agents can do."""
        while True:
            try:
                async with asyncio.timeout(LOOK_EACH_S * self._rng.uniform(0.8, 1.2)):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            try:
                await self._look()
            except UnavailableError as exc:
                logger.debug("agents of %s are looked after later: %s", self._node, exc)
            except MeshError as exc:
                logger.warning("agents of %s are looked after later: %s", self._node, exc)
            except Exception:
                logger.exception("agents of %s are looked after later", self._node)

    async def _look(self) -> None:
        await self._enter_all()
        if time.monotonic() >= self._renew_at_s and not self._is_leaving:
            self._renew_at_s = time.monotonic() + self._options.renew_s
            await self._show()
        await self._accepting.look()
        if not self._books.is_shown and not self._is_leaving:
            await self._show()

    async def _show(self) -> None:
        try:
            await self._books.show(incarnation=self._incarnation())
        except FencedError as exc:
            logger.warning("agents of %s are not found here: %s", self._node, exc)
        except UnavailableError as exc:
            logger.warning("agents of %s are found once the store is back: %s", self._node, exc)

    async def _enter_all(self) -> None:
        """Enter the agents in the node's present life; one that lives elsewhere in a later one is left to that."""
        incarnation = self._incarnation()
        for name, behaviour in self._behaviours.items():
            if self._entered_as.get(name) == incarnation:
                continue
            declared = behaviour.declared(node=self._node, incarnation=incarnation, slots=self._options.slots)
            try:
                await self._books.enter(declared)
            except FencedError as exc:
                logger.warning("agent %s takes no part here: %s", name, exc)
            except UnavailableError as exc:
                logger.warning("agent %s takes part once the store is back: %s", name, exc)
                return
            self._entered_as[name] = incarnation
            self._due.set()
        if not self._books.is_shown and not self._is_leaving:
            await self._show()

    async def _withdraw_all(self) -> None:
        try:
            await self._books.hide()
        except UnavailableError as exc:
            logger.debug("agents of %s fall out of the index by themselves: %s", self._node, exc)
