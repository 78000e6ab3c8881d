"""What must hold after every write, and once it is quiet: looks at the records only, at the moment they change."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from meshd.groups.announcements import OPEN_PREFIX, PREFIX, marker_of
from meshd.groups.codec import decode
from meshd.groups.enrolment import Enrolment
from meshd.groups.enrolment_codec import PREFIX as AGENTS
from meshd.groups.enrolment_codec import decode_enrolment
from meshd.groups.model import Announcement, AnnouncementState, Invitation, Member
from meshd.records import Record
from tests.support.memory_store import MemoryRecords

STANDING = (AnnouncementState.FORMED, AnnouncementState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A member's own word about its end, as the announcement took it."""

    agent: str
    is_success: bool
    incarnation: int


class Watcher:
    """Sees every write."""

    def __init__(self, records: MemoryRecords, say: Callable[[str], None]) -> None:
        self.breaches: list[str] = []
        self.announcements: dict[str, Announcement] = {}
        self.agents: dict[str, Enrolment] = {}
        self.ended: dict[str, Ended] = {}
        """Outcome id → the end it stands for."""
        self.counted: set[str] = set()
        self.over_ms: dict[str, int] = {}
        self.formed: list[tuple[int, str]] = []
        """When groups were formed, in order."""
        self.states = Counter[str]()
        self._records = records
        self._say = say
        records.on_write = self._written

    def breach(self, what: str) -> None:
        self._say(f"BREACH {what}")
        self.breaches.append(what)

    def _written(self, key: str, before: Record | None, after: Record | None) -> None:
        if key.startswith(PREFIX) and after is not None:
            self._announcement(decode(after), now_ms=after.read_ms)
        elif key.startswith(AGENTS) and after is not None:
            self._agent(decode_enrolment(after))
        elif key.startswith(OPEN_PREFIX) and after is None:
            self._unmarked(key.removeprefix(OPEN_PREFIX))
        del before

    def _announcement(self, after: Announcement, *, now_ms: int) -> None:
        name, before = after.id, self.announcements.get(after.id)
        self.announcements[name] = after
        self.states[after.state] += 1
        if before is None or before.state is not after.state or before.round != after.round:
            self._say(
                f"{name} {after.state} epoch {after.epoch} round {after.round}"
                f" members {sorted(after.members)} invited {sorted(after.invitations)} {after.reason}"
            )
        if before is not None:
            self._follows(before, after)
            self._note_ends(before, after)
        self._is_sound(after)
        if after.state.is_over:
            self.over_ms.setdefault(name, now_ms)
        elif self._records.peek(marker_of(name)) is None:
            self.breach(f"{name} is open without a marker")
        if after.epoch > (0 if before is None else before.epoch):
            self.formed.append((now_ms, name))

    def _follows(self, before: Announcement, after: Announcement) -> None:
        name = after.id
        if before.state.is_over and before != after:
            self.breach(f"{name} was {before.state} and is written as {after.state}")
        for what in ("epoch", "token", "round", "reformations"):
            if getattr(after, what) < getattr(before, what):
                self.breach(f"{name}: {what} went back from {getattr(before, what)} to {getattr(after, what)}")
        if after.epoch > before.epoch and after.token <= before.token:
            self.breach(f"{name}: formed anew with token {after.token} after {before.token}")
        for role, result in before.results.items():
            if after.results.get(role) != result:
                self.breach(f"{name}: the result of {role} changed")
        for agent, member in after.members.items():
            if agent not in before.members and after.epoch == before.epoch:
                self.breach(f"{name}: {agent} joined without a formation")
            if agent not in before.members and member.round not in (each.round for each in before.invitations.values()):
                self.breach(f"{name}: {agent} joined without an invitation")

    def _is_sound(self, current: Announcement) -> None:
        name = current.id
        roles = [role for member in current.members.values() for role in member.roles]
        if len(roles) != len(set(roles)):
            self.breach(f"{name}: a role has two members: {sorted(roles)}")
        if len(current.members) + len(current.invitations) > current.max_size:
            self.breach(f"{name} has more than {current.max_size} members and invitations")
        if current.state in STANDING and not current.is_partial:
            missing = {need.name for need in current.needs} - set(roles) - current.results.keys()
            if missing:
                self.breach(f"{name} is {current.state} without {sorted(missing)}")
        if not current.state.is_over:
            for each in _holders(current):
                self._is_held(current, each)

    def _is_held(self, current: Announcement, each: Member | Invitation) -> None:
        enrolment = self.agents.get(each.agent)
        hold = None if enrolment is None else enrolment.book.holds.get(current.id)
        shown = None if hold is None else (hold.round, hold.incarnation)
        if shown != (each.round, each.incarnation):
            self.breach(
                f"{current.id} names {each.agent} with round {each.round} of life {each.incarnation},"
                f" its book has {shown}"
            )

    def _note_ends(self, before: Announcement, after: Announcement) -> None:
        for agent, member in before.members.items():
            now = after.members.get(agent)
            is_done = now is not None and now.is_done and not member.is_done
            has_failed = (now is None and agent in after.refused and after.refused[agent] != "did not start") or (
                now is not None and after.state is AnnouncementState.FAILED and agent in after.refused
            )
            if is_done or has_failed:
                self.ended[f"{after.id}:{member.round}:{agent}"] = Ended(
                    agent=agent, is_success=is_done, incarnation=member.incarnation
                )

    def _agent(self, after: Enrolment) -> None:
        name, before = after.candidate.agent, self.agents.get(after.candidate.agent)
        self.agents[name] = after
        if len(after.book.holds) > after.book.slots:
            self.breach(f"{name} has {len(after.book.holds)} holds in {after.book.slots} slots")
        if after.candidate.taken != len(after.book.holds):
            self.breach(f"{name} counts {after.candidate.taken} taken, and holds {len(after.book.holds)}")
        if before is None:
            return
        if after.candidate.incarnation < before.candidate.incarnation:
            self.breach(f"{name}: an earlier life wrote its record")
        for announcement, hold in before.book.holds.items():
            now = after.book.holds.get(announcement)
            if now is None or now.round != hold.round:
                self._may_go(name, announcement, hold.round)
        self._outcomes(name, before, after)

    def _may_go(self, agent: str, announcement: str, number: int) -> None:
        current = self.announcements.get(announcement)
        if current is None or current.state.is_over:
            return
        named = (current.members.get(agent), current.invitations.get(agent))
        if any(each is not None and each.round == number for each in named):
            self.breach(f"{agent} gave up its hold of round {number} while {announcement} names it")

    def _outcomes(self, agent: str, before: Enrolment, after: Enrolment) -> None:
        old, new = before.candidate, after.candidate
        fresh = [each for each in new.counted if each not in old.counted]
        for outcome in fresh:
            known = f"{outcome}:{agent}"
            if known in self.counted:
                self.breach(f"{agent}: the outcome {outcome} counts twice")
            self.counted.add(known)
            if known not in self.ended:
                self.breach(f"{agent}: an outcome {outcome} counts that {outcome.split(':')[0]} does not know")
        counts = {skill.name: skill.count for skill in old.skills.values()}
        moved = any(skill.count != counts.get(skill.name, skill.count) for skill in new.skills.values())
        if not fresh and (moved or old.reputation != new.reputation):
            self.breach(f"{agent}: its reputation moved without an outcome")
        good = sum(self.ended[f"{each}:{agent}"].is_success for each in fresh if f"{each}:{agent}" in self.ended)
        if len(fresh) == 1:
            is_up = new.reputation.completed > old.reputation.completed
            if is_up != bool(good):
                self.breach(f"{agent}: {fresh[0]} counts as a {'success' if is_up else 'failure'}, and was none")

    def _unmarked(self, name: str) -> None:
        current = self.announcements.get(name)
        if current is not None and not current.state.is_over:
            self.breach(f"the marker of {name} was removed while it is {current.state}")

    def check_ends(self, latest_ms: Mapping[str, int]) -> None:
        """Every announcement is over, and was by the time given."""
        for name, limit_ms in latest_ms.items():
            over_ms = self.over_ms.get(name)
            if over_ms is None:
                self.breach(f"{name} never ended: it is {self.announcements[name].state}")
            elif over_ms > limit_ms:
                self.breach(f"{name} ended {over_ms - limit_ms} ms after it had to")

    def check_quiet(self, living: Iterable[str], *, has_hubs: bool) -> None:
        """No marker is left, and every agent that lives has all its slots."""
        for key in self._records.keys(OPEN_PREFIX) if has_hubs else ():
            self.breach(f"the marker {key} is left")
        for name in living:
            enrolment = self.agents.get(name)
            if enrolment is None:
                self.breach(f"{name} was never enrolled")
            elif enrolment.book.holds or enrolment.candidate.availability != 1.0:
                self.breach(f"{name} still holds {sorted(enrolment.book.holds)}")

    def check_recorded(self, agent: str) -> None:
        """Each end that an announcement took from an agent whose node never died counts."""
        for outcome, ended in self.ended.items():
            if ended.agent == agent and outcome not in self.counted:
                self.breach(f"{ended.agent}: the end {outcome} does not count")


def _holders(current: Announcement) -> list[Member | Invitation]:
    accepted = [each for each in current.invitations.values() if each.accepted]
    return [*current.members.values(), *accepted]
