"""Settings of a bridge: to which other mesh a node of type bridge leads, and what it carries there."""

from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from meshd.errors import InvalidArgumentError
from meshd.ids import check_name


def _words(value: object) -> object:
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class BridgeSettings(BaseModel):
    """Where a bridge leads, and what it carries. Read by nodes of type bridge only."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str = Field(default="", repr=False)
    """Of the store of the mesh beyond."""
    mesh: str = ""
    """Name of the mesh beyond."""
    task_types: Words = ()
    """Tasks of these types are run beyond; their results come back."""
    message_types: Words = ()
    """Messages of these types to the bridge are sent on to whom their metadata names under `to`."""
    addressees: Words = ()
    """Agents beyond for which the bridge stands here: every message to one of them is sent on to it."""

    @property
    def is_set(self) -> bool:
        """Whether it says where to lead and what to carry."""
        return bool(self.url and self.mesh and (self.task_types or self.message_types or self.addressees))

    @model_validator(mode="after")
    def _names_are_names(self) -> Self:
        try:
            if self.mesh:
                check_name("bridge.mesh", self.mesh)
            for addressee in self.addressees:
                check_name("bridge.addressees", addressee)
            for message_type in self.message_types:
                check_name("bridge.message_types", message_type)
        except InvalidArgumentError as exc:
            raise ValueError(str(exc)) from exc
        return self
