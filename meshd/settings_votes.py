"""Settings of votes: how much yes accepts, how long a proposal is open, what the default policy supports."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from meshd.votes.model import Quorum

if TYPE_CHECKING:
    from meshd.votes.service import VoteOptions


class VotesSettings(BaseModel):
    """Deciding together, where a caller says nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    quorum: Annotated[float, Field(ge=0.001, le=1)] = 0.6
    """Share of the electorate whose yes accepts, in thousandths."""
    proposal_timeout_seconds: Annotated[float, Field(ge=0.001, le=2_592_000)] = 30.0
    """How long votes are taken."""
    waggle_intensity_min: Annotated[float, Field(ge=0, le=1)] = 0.3
    """How strongly a proposal must be danced for so that the default policy supports it."""

    def options(self, *, proposer: str) -> "VoteOptions":
        """Return what holds for proposals of `proposer`."""
        from meshd.votes.service import VoteOptions  # noqa: PLC0415 -- for those who vote

        return VoteOptions(
            quorum=Quorum(permil=round(self.quorum * 1_000)),
            timeout=timedelta(seconds=self.proposal_timeout_seconds),
            minimum_intensity=self.waggle_intensity_min,
            proposer=proposer,
        )
