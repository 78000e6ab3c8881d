"""Settings of roles: which of the mesh's own jobs a node is willing to do, and how leaders of them are elected."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from meshd.role_names import RoleName

if TYPE_CHECKING:
    from meshd.votes.leading import Lease


class RolesSettings(BaseModel):
    """The mesh's own jobs. Topology and consensus are for one node at a time, elected among the willing.

    Groups is played by all that are willing at once. Reclaim needs nobody: every node does its share of it anyway, and
    whoever plays it does it without pause.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    play: tuple[RoleName, ...] = (RoleName.TOPOLOGY, RoleName.CONSENSUS, RoleName.GROUPS)
    """Roles this node stands for."""
    interval_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    """Shortest time from one round of a role to the next."""
    idle_seconds: Annotated[float, Field(gt=0, le=3_600)] = 10.0
    """Longest time from one round to the next, and between two looks of those who wait to be elected."""
    lease_seconds: Annotated[float, Field(ge=0.1, le=3_600)] = 10.0
    """How long a player that says nothing keeps its role."""
    statistics_seconds: Annotated[float, Field(gt=0, le=86_400)] = 15.0
    """How often a player logs what it did."""

    @field_validator("play", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value

    def lease(self) -> "Lease":
        """Return the lease of the leaders."""
        from meshd.votes.leading import Lease  # noqa: PLC0415 -- for those who play one

        return Lease(length=timedelta(seconds=self.lease_seconds))
