"""Settings of the topology: how use makes edges thicker, and time thinner."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from meshd.topology.model import EdgeRules, Shape, WeightRule

if TYPE_CHECKING:
    from meshd.topology.keeping import KeepingOptions

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=31_536_000)]


class TopologySettings(BaseModel):
    """Who talks to whom: a graph of agents that grows with use and shrinks with time. The same on every node."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    rule: WeightRule = WeightRule.ADDITIVE
    """additive: a use adds, a tick subtracts, the same each time; bounded: both in proportion."""
    shape: Literal["auto", "star", "mesh", "ring", "tree", "hybrid"] = "auto"
    """Edges an agent gets when it joins; auto: a mesh up to full_mesh_up_to agents, above it a hybrid."""
    full_mesh_up_to: Annotated[int, Field(ge=1, le=1_000)] = 32
    initial_edge_weight: Share = 0.5
    reinforcement_amount: Share = 0.1
    """What a use adds; by the bounded rule the share of what is missing to 1."""
    decay_rate: Share = 1 / 60
    """Weight lost each tick, by the additive rule."""
    decay_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the weight lost each tick, by the bounded rule."""
    decay_interval_seconds: Seconds = 5.0
    """A tick."""
    prune_threshold: Share = 0.1
    """An edge at or below it is pruned."""
    floor: Share = 0.05
    """No edge gets thinner by the bounded rule."""
    idle_seconds: Seconds = 120.0
    """How long an edge must be unused to be pruned, by the bounded rule."""
    min_degree: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Edges pruning leaves to each agent."""
    keep_connected: bool = False
    """Link pieces that pruning left apart, by lot."""

    @field_validator("decay_interval_seconds", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        """Take `5s` for 5, as the older name did."""
        return value.strip().removesuffix("s") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _can_be_pruned(self) -> Self:
        if self.initial_edge_weight <= self.prune_threshold:
            initial, threshold = self.initial_edge_weight, self.prune_threshold
            raise ValueError(f"initial_edge_weight {initial:g} must be over prune_threshold {threshold:g}")
        if self.rule is WeightRule.BOUNDED and self.floor > self.prune_threshold:
            raise ValueError(f"floor {self.floor:g} must not be over prune_threshold {self.prune_threshold:g}")
        return self

    def options(self) -> "KeepingOptions":
        """Return how the topology is kept and read."""
        from meshd.topology.keeping import KeepingOptions  # noqa: PLC0415 -- for those who keep or read it

        return KeepingOptions(
            rules=self.rules(),
            shape=None if self.shape == "auto" else Shape(self.shape),
            full_mesh_up_to=self.full_mesh_up_to,
            keeps_connected=self.keep_connected,
        )

    def rules(self) -> EdgeRules:
        """Return how weights rise and fall."""
        return EdgeRules(
            rule=self.rule,
            initial=self.initial_edge_weight,
            reinforcement=self.reinforcement_amount,
            decay=self.decay_rate,
            decay_share=self.decay_share,
            floor=self.floor,
            interval_ms=max(1, round(self.decay_interval_seconds * 1000)),
            prune_below=self.prune_threshold,
            idle_ms=max(1, round(self.idle_seconds * 1000)),
            min_degree=self.min_degree,
        )
