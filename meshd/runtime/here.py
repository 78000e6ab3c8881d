"""A handler called here and now, without any mesh: what is left to do when there is none."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from meshd import codec
from meshd.errors import InvalidArgumentError, NotFoundError
from meshd.runtime.handlers import HandlerTable, encode_result

MAX_RESULT_BYTES = 67_108_864


async def call_here(handlers: HandlerTable, task_type: str, payload: Mapping[str, Any]) -> Any:
    """Return what the handler returns, as plain JSON types. Nothing is recorded, retried or bounded in time.

    Raises:
        NotFoundError: there is no handler for the type.
        InvalidPayloadError: the payload does not fit, or the result has no JSON form.
        InvalidArgumentError: the handler asks for a `TaskContext`, which only a task of a mesh has.
    """
    handler = handlers.get(task_type)
    if handler is None:
        raise NotFoundError(f"no handler for {task_type!r} here; there are {', '.join(sorted(handlers.task_types))}")
    if handler.context_parameter is not None:
        raise InvalidArgumentError(f"the handler of {task_type!r} asks for a TaskContext: it needs a mesh")
    arguments = handler.parse(codec.encode(payload))
    if handler.is_async:
        value = await handler.function(**arguments)
    else:
        value = await asyncio.to_thread(partial(handler.function, **arguments))
    return codec.decode(encode_result(value, limit=MAX_RESULT_BYTES))
