"""Announcements, groups and what agents can do, as plain JSON types."""

from collections.abc import Collection, Iterable
from typing import Any

from meshd.groups.explaining import Chosen, GroupExplanation, PassedOver
from meshd.groups.model import Announcement, Candidate, Invitation, Member, Offer, Skill
from meshd.groups.obstacles import need_text
from meshd.groups.reputation import mean_at
from meshd.groups.skills import level_name, success_at
from meshd.groups.steps import open_needs
from meshd.groups.working import progress
from meshd_cli.documents import moment


def announcement_summary(announcement: Announcement) -> dict[str, Any]:
    """Return what fits on one line about an announcement."""
    return {
        "id": announcement.id,
        "description": announcement.description,
        "state": announcement.state.value,
        "is_partial": announcement.is_partial,
        "priority": announcement.urgency.name.lower(),
        "initiator": announcement.initiator,
        "skills": [need_text(need) for need in announcement.needs],
        "members": sorted(announcement.members),
        "progress": round(progress(announcement), 4),
        "reason": announcement.reason,
        "announced_at": moment(announcement.announced_ms),
        "deadline_at": moment(announcement.deadline_ms),
        "ended_at": moment(announcement.ended_ms or None),
    }


def announcement_document(announcement: Announcement, *, stalled: Collection[str] = ()) -> dict[str, Any]:
    """Return everything about an announcement and its group; `stalled` are the members not heard of for long."""
    return {
        **announcement_summary(announcement),
        "payload": announcement.payload,
        "metadata": dict(announcement.metadata),
        "max_size": announcement.max_size,
        "partial": announcement.partial.value,
        "depends_on": list(announcement.depends_on),
        "parent": announcement.parent,
        "epoch": announcement.epoch,
        "reformations": announcement.reformations,
        "missing": [need.name for need in open_needs(announcement, accepted_only=True)],
        "formed_at": moment(announcement.formed_ms or None),
        "forms_until": moment(announcement.forms_until_ms or None),
        "group": [
            {**_member(announcement, member), "stalled": agent in stalled}
            for agent, member in sorted(announcement.members.items())
        ],
        "invitations": [_invitation(each) for _, each in sorted(announcement.invitations.items())],
        "offers": [_offer(each) for _, each in sorted(announcement.offers.items())],
        "refused": dict(announcement.refused),
        "dead": dict(announcement.dead),
        "results": dict(announcement.results),
    }


def skill_documents(
    candidates: Iterable[Candidate], *, skill: str, least: int, live: Collection[str], now_ms: int
) -> list[dict[str, Any]]:
    """Return a line for each skill of each agent, or for one skill, at a level or above; the best level first."""
    found = [
        _skill(one, each, live=live, now_ms=now_ms)
        for one in candidates
        for each in one.skills.values()
        if skill in ("", each.name) and each.level >= least
    ]
    return sorted(found, key=lambda each: (each["skill"], -each["rank"], -each["success"], each["agent"]))


def group_explanation_document(explanation: GroupExplanation) -> dict[str, Any]:
    """Return everything an explanation of a choice says."""
    return {
        "announcement": announcement_summary(explanation.announcement),
        "summary": explanation.summary,
        "weights": {term.value: weight for term, weight in explanation.weights.items()},
        "is_even": explanation.is_even,
        "price": _rounded(explanation.price),
        "chosen": [_chosen(each) for each in explanation.chosen],
        "others": [_passed_over(each) for each in explanation.others],
        "unblock": [
            {"kind": each.kind.value, "skill": each.skill or None, "agents": list(each.agents), "detail": each.detail}
            for each in explanation.unblock
        ],
    }


def agent_why_not_document(explanation: GroupExplanation, agent: str) -> dict[str, Any]:
    """Return why one agent is not in a group, or that it is."""
    announcement = announcement_summary(explanation.announcement)
    for each in explanation.chosen:
        if each.agent == agent:
            part = f"it is {'a member' if each.is_member else 'invited'}, for {', '.join(each.roles)}"
            return {"announcement": announcement, **_chosen(each), "reasons": [part]}
    one = next(each for each in explanation.others if each.agent == agent)
    reasons = [obstacle.detail for obstacle in one.obstacles]
    if one.price is not None and explanation.price is not None:
        reasons.append(
            f"the cheapest group with it costs {one.price:.3f}, the one that was chosen {explanation.price:.3f}"
        )
    return {"announcement": announcement, **_passed_over(one), "reasons": reasons or ["nothing: it may offer"]}


def _member(announcement: Announcement, member: Member) -> dict[str, Any]:
    return {
        "agent": member.agent,
        "node": member.node,
        "roles": list(member.roles),
        "epoch": member.epoch,
        "started": member.started,
        "done": member.is_done,
        "progress": member.progress,
        "note": member.note,
        "heard_at": moment(member.updated_ms or None),
        "results": {role: announcement.results[role] for role in member.roles if role in announcement.results},
    }


def _invitation(each: Invitation) -> dict[str, Any]:
    return {
        "agent": each.agent,
        "node": each.node,
        "roles": list(each.roles),
        "accepted": each.accepted,
        "expires_at": moment(each.expires_ms),
    }


def _offer(each: Offer) -> dict[str, Any]:
    return {
        "agent": each.agent,
        "node": each.node,
        "skills": list(each.skills),
        "score": _rounded(each.score),
        "availability": _rounded(each.availability),
        "given": _rounded(each.given),
        "cost": each.cost,
    }


def _skill(one: Candidate, each: Skill, *, live: Collection[str], now_ms: int) -> dict[str, Any]:
    return {
        "skill": each.name,
        "agent": one.agent,
        "level": level_name(each.level),
        "rank": int(each.level),
        "success": round(success_at(each, now_ms), 4),
        "seconds": round((each.measured_ms or each.average_ms) / 1_000, 3) or None,
        "outcomes": each.count,
        "reputation": round(mean_at(one.reputation, now_ms), 4),
        "slots": one.slots,
        "free": max(0, one.slots - one.taken),
        "cost": one.cost,
        "node": one.node,
        "is_live": one.node in live,
        "metadata": dict(each.metadata),
    }


def _chosen(each: Chosen) -> dict[str, Any]:
    return {
        "agent": each.agent,
        "node": each.node,
        "roles": list(each.roles),
        "is_member": each.is_member,
        "offered": _rounded(each.offered),
        "score": None if each.scored is None else _rounded(each.scored.score),
        "terms": {}
        if each.scored is None
        else {term.value: _rounded(part) for term, part in each.scored.terms.items()},
        "price": _rounded(each.price),
    }


def _passed_over(each: PassedOver) -> dict[str, Any]:
    return {
        "agent": each.agent,
        "node": each.node,
        "skills": list(each.skills),
        "obstacles": [
            {"kind": obstacle.kind.value, "skill": obstacle.skill or None, "detail": obstacle.detail}
            for obstacle in each.obstacles
        ],
        "score": _rounded(each.scored.score),
        "terms": {term.value: _rounded(part) for term, part in each.scored.terms.items()},
        "price": _rounded(each.price),
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
