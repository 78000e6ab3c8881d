"""Handlers: functions that run tasks, called with arguments checked against their own type hints."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from meshd import codec
from meshd.errors import AlreadyExistsError, ConfigurationError, CorruptDataError, InvalidPayloadError
from meshd.ids import check_name
from meshd.runtime.context import TaskContext

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One function and how to call it."""

    task_type: str
    function: Callable[..., Any]
    is_async: bool
    context_parameter: str | None
    arguments: type[BaseModel]
    names: tuple[str, ...]
    """Parameters taken from the payload."""

    def parse(self, payload: bytes) -> dict[str, Any]:
        """Return the keyword arguments `payload` stands for, converted to the parameters' types.

        Raises:
            InvalidPayloadError: it is not a JSON object that fits; the message names each field.
        """
        try:
            value = codec.decode(payload)
        except CorruptDataError as exc:
            raise InvalidPayloadError(f"payload of {self.task_type!r}: {exc}") from exc
        if not isinstance(value, dict):
            raise InvalidPayloadError(f"payload of {self.task_type!r} is not a JSON object of arguments")
        try:
            parsed = self.arguments.model_validate(value)
        except ValidationError as exc:
            raise InvalidPayloadError(f"payload of {self.task_type!r} does not fit: {_explain(exc)}") from exc
        given, values = parsed.model_fields_set, parsed.__dict__
        if len(given) == len(self.names) and not parsed.model_extra:
            return dict(values)
        found = {name: values[name] for name in self.names if name in given}
        return found | parsed.model_extra if parsed.model_extra else found


class HandlerTable:
    """A node's handlers, one per task type; where it has none, those of the table `before` it."""

    def __init__(self, before: "HandlerTable | None" = None) -> None:
        self._handlers: dict[str, Handler] = {}
        self._before = before

    @property
    def task_types(self) -> frozenset[str]:
        own = frozenset(self._handlers)
        return own if self._before is None else own | self._before.task_types

    def get(self, task_type: str) -> Handler | None:
        own = self._handlers.get(task_type)
        return own if own is not None or self._before is None else self._before.get(task_type)

    def add(self, task_type: str, function: Callable[..., Any]) -> Handler:
        """Register `function` for `task_type`.

        Raises:
            AlreadyExistsError: the type has a handler.
            ConfigurationError: the function's parameters cannot be called by name.
        """
        if task_type in self._handlers:
            raise AlreadyExistsError(f"task type {task_type!r} has a handler on this node already")
        handler = describe(check_name("task type", task_type), function)
        self._handlers[task_type] = handler
        return handler


def describe(task_type: str, function: Callable[..., Any]) -> Handler:
    """Return how to call `function`: its signature is read once, here.

    Raises:
        ConfigurationError: a parameter is positional-only or `*args`, or a type hint cannot be resolved.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as exc:
        raise ConfigurationError(f"handler of {task_type!r}: a type hint cannot be resolved: {exc}") from exc
    context_parameter: str | None = None
    fields: dict[str, Any] = {}
    extra = "forbid"
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name, Any)
        if hint is TaskContext:
            context_parameter = name
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            extra = "allow"
        elif parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL):
            raise ConfigurationError(f"handler of {task_type!r}: parameter {name!r} cannot be passed by name")
        else:
            fields[name] = (hint, ... if parameter.default is inspect.Parameter.empty else parameter.default)
    config = ConfigDict(extra="forbid" if extra == "forbid" else "allow", arbitrary_types_allowed=True)
    model = create_model(f"{task_type}.arguments", __config__=config, **fields)
    return Handler(
        task_type=task_type,
        function=function,
        is_async=inspect.iscoroutinefunction(function),
        context_parameter=context_parameter,
        arguments=model,
        names=tuple(fields),
    )


def encode_result(value: object, *, limit: int) -> bytes:
    """Return a handler's return value as it is stored; pydantic models become JSON objects.

    Raises:
        InvalidPayloadError: it has no JSON form.
        PayloadTooLargeError: it is over `limit` bytes.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return codec.encode(value, what="result", limit=limit)


def _explain(error: ValidationError) -> str:
    problems = [
        f"{'.'.join(str(part) for part in problem['loc']) or 'payload'}: {problem['msg'].lower()}"
        for problem in error.errors(include_url=False, include_input=False)
    ]
    return "; ".join(problems[:5])
