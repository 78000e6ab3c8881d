"""Random histories of several announcements, agents with few slots, hubs that act on stale reads and die.

Agents reject, keep silent, accept and never start, die at every message; messages come twice, late and out of order, or
never. Whatever happens: no agent over its slots, none counted on without a slot, one group for each announcement, and
every announcement over by its deadline and 5 s, with all slots free.
"""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from meshd.groups.happenings import (
    GroupFormed,
    GroupInvited,
    OthersSeen,
    SkillOffered,
    TaskCancelled,
    TaskStarted,
    Ticked,
)
from meshd.groups.model import Announcement, AnnouncementState, Offer, PartialPolicy, SkillNeed
from meshd.groups.phases import others_of
from meshd.groups.protocol import announce, next_visit, outstanding
from meshd.groups.slots import SlotBook
from meshd.groups.steps import Rules, Step
from tests.groups.world import Hub, World

SKILLS = ("read", "write", "cook")
AGENTS = ("a0", "a1", "a2", "a3", "a4")
NAMES = ("t0", "t1", "t2")
MANNERS = ("works", "works", "works", "works", "rejects", "silent", "never starts")
RULES = Rules(lifetime_ms=60_000, formation_ms=15_000, hold_ms=2_000, start_ms=2_000)
WORKING = (AnnouncementState.FORMED, AnnouncementState.RUNNING)
LATEST_MS = 5_000


class Histories(RuleBasedStateMachine):
    """One history."""

    hubs = st.integers(0, 2)
    agents = st.sampled_from(AGENTS)
    names = st.sampled_from(NAMES)

    @initialize(
        manners=st.lists(st.sampled_from(MANNERS), min_size=5, max_size=5),
        policies=st.lists(st.sampled_from(PartialPolicy), min_size=3, max_size=3),
        slots=st.integers(1, 2),
        places=st.lists(st.sampled_from([1, 2, 3, 5, 6, 7, 7]), min_size=5, max_size=5),
        kin=st.sampled_from(["none", "waits", "part"]),
    )
    def begin(self, manners: list[str], policies: list[PartialPolicy], slots: int, places: list[int], kin: str) -> None:
        self.world = World(manners=dict(zip(AGENTS, manners, strict=True)), slots=slots, rules=RULES)
        self.before: dict[str, Announcement] = {}
        self.groups: dict[tuple[str, int], tuple[int, Any]] = {}
        self.unkept_ms = 0
        self.reached: Counter[str] = Counter()
        for place, (name, policy) in enumerate(zip(NAMES, policies, strict=True)):
            needs = tuple(SkillNeed(name=skill) for skill in SKILLS[: 1 + place % 3])
            after = ("t0",) if place and kin == "waits" else ()
            whole = "t0" if place == 1 and kin == "part" else ""
            draft = Announcement(
                id=name, initiator="boss", needs=needs, partial=policy, max_size=3, depends_on=after, parent=whole
            )
            made = announce(draft, now_ms=self.world.now_ms, rules=RULES)
            self.world.store.values[f"group/{name}"] = (1, made)
            self.reached[made.state] += 1
            for agent, bits in zip(AGENTS, places, strict=True):
                self.offer(place, name, {agent}, bits, old=False)

    def hub(self, number: int) -> Hub:
        return self.world.hubs[number]

    @rule(hub=hubs, name=names, agents=st.sets(agents, min_size=1), places=st.integers(1, 7), old=st.booleans())
    def offer(self, hub: int, name: str, agents: set[str], places: int, old: bool) -> None:
        for agent in sorted(agents):
            skills = tuple(skill for bit, skill in enumerate(SKILLS) if places >> bit & 1)
            life = self.world.workers[agent].incarnation - (1 if old else 0)
            offer = Offer(agent=agent, incarnation=life, skills=skills, score=0.5, availability=1.0)
            self.world.act(self.hub(hub), name, SkillOffered(offer=offer))

    @rule(hub=hubs, name=names)
    def read(self, hub: int, name: str) -> None:
        self.world.look(self.hub(hub), f"group/{name}")

    @rule(
        hub=hubs,
        name=names,
        event=st.sampled_from([GroupInvited(), GroupInvited(), GroupFormed(), TaskStarted(), Ticked()]),
    )
    def act(self, hub: int, name: str, event: Any) -> None:
        self.world.act(self.hub(hub), name, event)

    @rule(hub=hubs, name=names, often=st.integers(0, 9))
    def cancel(self, hub: int, name: str, often: int) -> None:
        if often == 0:
            self.world.act(self.hub(hub), name, TaskCancelled(by="boss"))

    @rule(hub=hubs, name=names, steps=st.integers(1, 9))
    def bring_on(self, hub: int, name: str, steps: int) -> None:
        """A hub brings a group some steps on its way, undisturbed for once."""
        acts: tuple[Callable[[], object], ...] = (
            lambda: self.act(hub, name, GroupInvited()),
            lambda: self.work(hub, 99),
            self.deliver_all,
            lambda: self.say(hub),
            lambda: self.work(hub, 99),
            lambda: self.act(hub, name, TaskStarted()),
            lambda: self.work(hub, 99),
            self.deliver_all,
            lambda: self.labour(hub, AGENTS[steps % 5], name, "completes"),
        )
        for act in acts[:steps]:
            act()

    @rule(hub=hubs, steps=st.integers(1, 12))
    def work(self, hub: int, steps: int) -> None:
        for _ in range(steps):
            self.world.work(self.hub(hub))

    @rule(hub=hubs)
    def kill_hub(self, hub: int) -> None:
        self.world.hubs[hub] = Hub(is_hasty=self.hub(hub).is_hasty)

    @rule(hub=hubs, name=names)
    def take_over(self, hub: int, name: str) -> None:
        self.world.act(self.hub(hub), name, self.outstanding)

    def outstanding(self, announcement: Announcement) -> Step:
        return outstanding(announcement, now_ms=self.world.now_ms)

    @rule(hub=hubs, name=names)
    def see_others(self, hub: int, name: str) -> None:
        """Look at what it waits for, or is a part of."""
        states = {other: self.world.read(other).state for other in others_of(self.world.read(name))}
        self.world.act(self.hub(hub), name, OthersSeen(states=states))

    @rule(place=st.integers(0, 40), again=st.booleans())
    def deliver(self, place: int, again: bool) -> None:
        if self.world.network:
            place %= len(self.world.network)
            message = self.world.network[place] if again else self.world.network.pop(place)
            self.world.deliver(message)

    @rule()
    def deliver_all(self) -> None:
        waiting, self.world.network = self.world.network, []
        for message in waiting:
            self.world.deliver(message)

    @rule(place=st.integers(0, 40))
    def kill_at_a_message(self, place: int) -> None:
        """The addressee dies when it has read a message, or before."""
        if self.world.network:
            message = self.world.network.pop(place % len(self.world.network))
            if message.to in self.world.workers:
                self.world.deliver(message)
                self.world.kill(message.to)

    @rule(hub=hubs)
    def say(self, hub: int) -> None:
        for agent in AGENTS:
            self.world.say(self.hub(hub), agent)

    @rule(hub=hubs, agent=agents, name=names, does=st.sampled_from(["starts", "updates", "completes", "fails"]))
    def labour(self, hub: int, agent: str, name: str, does: str) -> None:
        self.world.labour(self.hub(hub), agent, name, does)

    @rule(hub=hubs, does=st.sampled_from(["starts", "completes"]))
    def labour_all(self, hub: int, does: str) -> None:
        for name in NAMES:
            for agent in AGENTS:
                self.world.labour(self.hub(hub), agent, name, does)

    @rule(hub=hubs, place=st.integers(0, 9), name=names)
    def bury(self, hub: int, place: int, name: str) -> None:
        if self.world.deaths:
            self.world.act(self.hub(hub), name, self.world.deaths[place % len(self.world.deaths)])

    @rule(hub=hubs, agent=agents, until=st.integers(1, 3))
    def settle(self, hub: int, agent: str, until: int) -> None:
        """Look at a book, judge it, write it: begun here, and maybe finished when others have acted."""
        acts: tuple[Callable[[], object], ...] = (
            lambda: self.world.look(self.hub(hub), f"slots/{agent}"),
            lambda: self.world.settle(self.hub(hub), agent),
            lambda: self.world.write_settled(self.hub(hub), agent),
        )
        for act in acts[:until]:
            act()

    @rule(hub=hubs, agent=agents)
    def finish_settling(self, hub: int, agent: str) -> None:
        self.world.write_settled(self.hub(hub), agent)

    @rule(ms=st.sampled_from([1, 200, 700, 2_000]), is_kept=st.booleans(), is_killed=st.booleans())
    def pass_time(self, ms: int, is_kept: bool, is_killed: bool) -> None:
        self.world.now_ms += ms
        self.unkept_ms += ms
        if is_kept or self.unkept_ms > LATEST_MS - 2_000:
            self.unkept_ms = 0
            self.keep(is_killed=is_killed)

    def keep(self, *, is_killed: bool) -> None:
        """One hub ticks what is due, as its upkeep does; it may die before it did anything of what follows."""
        keeper = Hub()
        for announcement in self.world.announcements():
            visit = next_visit(announcement, now_ms=self.world.now_ms, rules=RULES)
            if visit is not None and visit <= self.world.now_ms:
                self.world.act(keeper, announcement.id, Ticked())
            others = {other: self.world.read(other).state for other in others_of(self.world.read(announcement.id))}
            if others:
                self.world.act(keeper, announcement.id, OthersSeen(states=others))
        while keeper.todo and not is_killed:
            self.world.work(keeper)

    @invariant()
    def nobody_is_over_its_slots_or_counted_on_without_one(self) -> None:
        for book in self.world.books():
            assert book.taken <= book.slots
            named = self.world.named(book.agent)
            assert len(named) <= book.slots
            for announcement, number in named:
                assert book.holds[announcement.id].round == number, (book, announcement)

    @invariant()
    def each_announcement_has_one_group_and_keeps_what_it_has(self) -> None:
        for now in self.world.announcements():
            before = self.before.get(now.id, now)
            assert before is now or not before.state.is_over
            assert before.results.items() <= now.results.items()
            assert (before.epoch == now.epoch) == (before.token == now.token)
            assert before.epoch <= now.epoch <= before.epoch + 1
            assert before.round <= now.round
            assert before.token <= now.token
            assert now.reformations <= RULES.max_reformations + 1
            assert len(now.members) + len(now.invitations) <= now.max_size
            assert not now.members.keys() & now.refused.keys()
            assert now.state is not AnnouncementState.WAITING or not (now.offers or now.invitations or now.members)
            self.check_group(now)
            if before.state is not now.state:
                self.reached[now.state] += 1
            self.before[now.id] = now

    def check_group(self, now: Announcement) -> None:
        if now.state is AnnouncementState.FORMED:
            group = (now.token, sorted(now.members))
            assert self.groups.setdefault((now.id, now.epoch), group) == group
        if now.state in WORKING or (now.state is AnnouncementState.COMPLETED and not now.is_partial):
            filled = {role for member in now.members.values() for role in member.roles} | now.results.keys()
            is_whole = filled >= {need.name for need in now.needs}
            assert is_whole != now.is_partial
            assert is_whole or now.partial is PartialPolicy.START

    @invariant()
    def what_is_over_was_over_in_time(self) -> None:
        for now in self.world.announcements():
            if now.state.is_over and not now.awaits:
                assert now.ended_ms <= now.deadline_ms + LATEST_MS

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        while any(not each.state.is_over for each in self.world.announcements()):
            self.world.now_ms += LATEST_MS
            self.keep(is_killed=True)
            self.each_announcement_has_one_group_and_keeps_what_it_has()
            self.what_is_over_was_over_in_time()
        for late in self.world.hubs:
            while late.todo:
                self.world.work(late)
        self.world.hubs[0] = Hub()
        for agent in AGENTS:
            self.settle(0, agent, 3)
        books: list[SlotBook] = self.world.books()
        assert [(book.taken, book.free) for book in books] == [(0, book.slots) for book in books]


def test_whatever_happens_slots_and_groups_are_right() -> None:
    run_state_machine_as_test(Histories, settings=settings(max_examples=150, stateful_step_count=50, deadline=None))


def lead(history: Any, rng: Random, *, steps: int) -> None:
    """Lead a history through so many steps, most of them such as bring a group on."""
    hub: Callable[[], int] = lambda: rng.randrange(3)  # noqa: E731 - drawn anew each time
    name: Callable[[], str] = lambda: rng.choice(NAMES)  # noqa: E731
    agent: Callable[[], str] = lambda: rng.choice(AGENTS)  # noqa: E731
    events = [GroupInvited(), GroupInvited(), GroupFormed(), TaskStarted(), Ticked()]
    acts: tuple[tuple[float, Callable[[], object]], ...] = (
        (6, lambda: history.work(hub(), rng.randint(1, 12))),
        (6, lambda: history.deliver(rng.randrange(40), rng.random() < 0.2)),
        (6, lambda: history.say(hub())),
        (4, lambda: history.act(hub(), name(), rng.choice(events))),
        (4, lambda: history.settle(hub(), agent(), rng.randint(1, 3))),
        (4, lambda: history.labour(hub(), agent(), name(), rng.choice(["starts", "updates", "completes"]))),
        (3, lambda: history.finish_settling(hub(), agent())),
        (3, lambda: history.pass_time(rng.choice([1, 200, 700]), rng.random() < 0.5, rng.random() < 0.3)),
        (2, lambda: history.bring_on(hub(), name(), rng.randint(1, 9))),
        (2, lambda: history.read(hub(), name())),
        (2, lambda: history.take_over(hub(), name())),
        (2, lambda: history.see_others(hub(), name())),
        (2, lambda: history.offer(hub(), name(), {agent()}, rng.randint(1, 7), rng.random() < 0.1)),
        (1, lambda: history.bury(hub(), rng.randrange(9), name())),
        (1, lambda: history.kill_hub(hub())),
        (1, lambda: history.pass_time(2_000, False, False)),
        (0.5, lambda: history.kill_at_a_message(rng.randrange(40))),
        (0.3, lambda: history.labour(hub(), agent(), name(), "fails")),
        (0.1, lambda: history.cancel(hub(), name(), 0)),
    )
    for _ in range(steps):
        rng.choices([act for _, act in acts], [weight for weight, _ in acts])[0]()
        history.nobody_is_over_its_slots_or_counted_on_without_one()
        history.each_announcement_has_one_group_and_keeps_what_it_has()
        history.what_is_over_was_over_in_time()


def test_long_histories_reach_every_state_and_are_right() -> None:
    reached: Counter[str] = Counter()
    for seed in range(80):
        rng = Random(seed)
        history: Any = Histories()
        history.begin(
            manners=[rng.choice(MANNERS) for _ in AGENTS],
            policies=[rng.choice(list(PartialPolicy)) for _ in NAMES],
            slots=rng.randint(1, 2),
            places=[rng.randint(1, 7) for _ in AGENTS],
            kin=rng.choice(["none", "waits", "part"]),
        )
        lead(history, rng, steps=250)
        history.teardown()
        reached += history.reached
    assert all(reached[state] >= 10 for state in AnnouncementState), reached
