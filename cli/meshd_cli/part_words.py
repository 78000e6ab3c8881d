"""How a task is divided, as people say so to `mesh submit`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshd.tasks.fan_out import FanOut


@dataclass(frozen=True, slots=True, kw_only=True)
class PartWords:
    """What was said about the parts; empty where nothing was."""

    number: int | None = None
    parts: str | None = None
    merge: str = ""
    distinct: str = ""
    is_partial: bool = False

    def fan_out(self) -> "FanOut | None":
        """Return how the task is divided; `None` if it is not.

        Raises:
            BadParameter: something was said about parts and there are none, there are two ways, or they are no list.
            InvalidPayloadError: the parts are not JSON.
        """
        from meshd.tasks.fan_out import Distinct, FanOut, OnFailure
        from meshd_cli.payloads import read_json

        if self.number is None and self.parts is None:
            if self != PartWords():
                raise typer.BadParameter("--merge, --distinct and --partial go with --fan-out or --parts.")
            return None
        if self.number is not None and self.parts is not None:
            raise typer.BadParameter(
                "--fan-out runs it with the same arguments, --parts with others: give one of them."
            )
        parts: Any = () if self.parts is None else read_json(self.parts, what="parts")
        if self.parts is not None and not (parts and isinstance(parts, list | dict)):
            raise typer.BadParameter("--parts is a JSON list, or an object by name, of the arguments of each part.")
        return FanOut(
            parts=cast("Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]]", parts),
            copies=self.number or 0,
            merge=self.merge or "list",
            distinct=self.distinct or Distinct.PREFER,
            on_failure=OnFailure.PARTIAL if self.is_partial else OnFailure.FAIL,
        )
