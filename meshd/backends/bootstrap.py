"""Opening one store by a list of addresses: the first that answers is used, for as long as it stays open.

All addresses must lead to the same store: they are several ways to it, not several stores.
"""

from collections.abc import Sequence

from meshd.backends import Backend, BackendOptions, open_backend, redact
from meshd.errors import StoreUnreachableError, UnavailableError


async def open_first(urls: Sequence[str], options: BackendOptions | None = None) -> tuple[str, Backend]:
    """Return the first of these urls whose store answers, and its open backend.

    Raises:
        ConfigurationError: a url names no backend meshd has, or its settings cannot be used there.
        StoreUnreachableError: none answers; the message names each and what was wrong with it.
        CorruptDataError: the first that answers has no sound meshd store.
    """
    failures: list[UnavailableError] = []
    for url in urls:
        try:
            return url, await open_backend(url, options)
        except UnavailableError as exc:
            failures.append(exc)
    if len(failures) == 1:
        raise failures[0]
    tried = "; ".join(f"{redact(url)}: {failure}" for url, failure in zip(urls, failures, strict=True))
    raise StoreUnreachableError(f"none of {len(urls)} bootstrap_nodes answers: {tried}") from failures[-1]
