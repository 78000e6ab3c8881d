"""Settings of working groups: how many, how large, how long each step may take, what counts in a choice."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from meshd.groups.scoring import ScoreRules
    from meshd.groups.shares import ShareRules
    from meshd.groups.steps import Rules

Seconds = Annotated[float, Field(gt=0, le=2_592_000)]
Share = Annotated[float, Field(ge=0, le=1)]


class GroupsSettings(BaseModel):
    """Teaming up. The same on every node, so that all of them judge alike."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    max_announcements: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """Most announcements that are open at once; one more is refused."""
    slots: Annotated[int, Field(ge=1, le=10_000)] = 5
    """Groups an agent takes part in at once, where it says nothing else."""
    max_size: Annotated[int, Field(ge=1, le=100)] = 5
    """Largest group; who asks for a larger one is refused."""
    formation_seconds: Seconds = 30.0
    """How long a group may take to form, from the announcement and again from the loss of a member."""
    offer_window_ms: Annotated[int, Field(ge=0, le=60_000)] = 200
    """How long better offers are waited for."""
    enough_offers: Annotated[int, Field(ge=1, le=64)] = 12
    """With so many offers, and every skill covered, the best are invited at once."""
    hold_seconds: Annotated[float, Field(ge=0.1, le=3_600)] = 5.0
    """How long an invited agent has to answer, and its slot is held for it."""
    start_seconds: Annotated[float, Field(ge=0.1, le=3_600)] = 5.0
    """How long a member has to start; it is reminded once."""
    lifetime_seconds: Seconds = 300.0
    """Until the deadline of an announcement that names none."""
    kept_seconds: Seconds = 3_600.0
    """How long an announcement that is over stays readable."""
    max_reformations: Annotated[int, Field(ge=0, le=100)] = 3
    """How often a group that lost a member forms anew."""
    skill_update_seconds: Seconds = 300.0
    """How often a node says anew what its agents can do; who is silent for three times as long is not asked."""
    most_asked: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Holders of each skill one announcement asks."""
    emphasis: Annotated[float, Field(ge=0, le=10)] = 3.0
    """Power of the score in a price: how much more work the better agent gets; 0 shares evenly."""
    even_one_in: Annotated[int, Field(ge=0, le=1_000_000)] = 20
    """Of so many announcements one looks at no score; 0: none does."""
    least_availability: Share = 0.2
    """Free share of its slots an agent must have to offer."""
    reputation_floor: Share = 0.25
    """Least reputation that counts in a choice, so that nobody is passed over for good."""
    pace_seconds: Seconds = 60.0
    """Mean time to complete that is worth half of the term `time`."""

    def rules(self) -> "Rules":
        """Return the rules of the protocol."""
        from meshd.groups.covering import cover  # noqa: PLC0415 -- for those who team up
        from meshd.groups.steps import Rules  # noqa: PLC0415

        return Rules(
            select=partial(cover, shares=self.shares()),
            shares=self.shares(),
            offer_window_ms=self.offer_window_ms,
            enough_offers=self.enough_offers,
            hold_ms=_ms(self.hold_seconds),
            hold_margin_ms=min(500, _ms(self.hold_seconds) // 4),
            formation_ms=_ms(self.formation_seconds),
            start_ms=_ms(self.start_seconds),
            lifetime_ms=_ms(self.lifetime_seconds),
            max_reformations=self.max_reformations,
        )

    def scores(self) -> "ScoreRules":
        """Return the rules by which agents are scored, and may offer."""
        from meshd.groups.scoring import ScoreRules  # noqa: PLC0415 -- for those who team up

        return ScoreRules(
            pace_ms=self.pace_seconds * 1000,
            least_availability=self.least_availability,
            floor=self.reputation_floor,
        )

    def shares(self) -> "ShareRules":
        """Return the rules by which work is shared."""
        from meshd.groups.shares import ShareRules  # noqa: PLC0415 -- for those who team up

        return ShareRules(emphasis=self.emphasis, even_one_in=self.even_one_in)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
