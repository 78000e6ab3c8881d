"""Settings of the links between nodes, and of the probes that go over them."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from meshd.nodes.probe_model import ProbeOptions

Seconds = Annotated[float, Field(gt=0, le=60)]


class PeersSettings(BaseModel):
    """How nodes reach each other past the store, to see who is there."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    enabled: Literal["auto", "on", "off"] = "auto"
    """auto: with a store other machines can reach, which is every one but SQLite."""
    advertise: str = ""
    """Host or address under which other nodes reach this machine; empty: the one from which it reaches the store."""
    probe_interval_seconds: Seconds = 1.0
    probe_timeout_seconds: Seconds = 0.5
    """Wait for an answer before others are asked to try; longer on a way that is slow."""
    indirect_probes: Annotated[int, Field(ge=0, le=10)] = 3
    """Nodes asked to try when one does not answer."""
    neighbours: Annotated[int, Field(ge=1, le=64)] = 8
    """Nodes probed each interval, beside one chosen by chance."""

    @field_validator("enabled", mode="before")
    @classmethod
    def _on_is_a_word(cls, value: object) -> object:
        """YAML reads a bare on or off as true or false."""
        return ("on" if value else "off") if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _answered_in_time(self) -> Self:
        if self.probe_timeout_seconds > self.probe_interval_seconds:
            raise ValueError(
                f"probe_timeout_seconds {self.probe_timeout_seconds} must not be over "
                f"probe_interval_seconds {self.probe_interval_seconds}"
            )
        return self

    def probes(self) -> ProbeOptions:
        """Return how a prober goes about it."""
        return ProbeOptions(
            interval_ms=self.probe_interval_seconds * 1000,
            timeout_ms=self.probe_timeout_seconds * 1000,
            indirect=self.indirect_probes,
            neighbours=self.neighbours,
        )

    def links_over(self, url: str) -> bool:
        """Whether a node of the mesh whose store has this url opens links."""
        return self.enabled == "on" or (self.enabled == "auto" and not url.lower().startswith("sqlite:"))
