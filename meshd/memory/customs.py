"""Custom policies: functions of the user's own, found by the import paths the settings name.

A version says which policy it was written under, but what others wrote never decides what runs here: only functions
named by this process's own settings, or handed to it, are called.
"""

from collections.abc import Iterable
from importlib import import_module

from meshd.errors import ConfigurationError
from meshd.memory.policies import CUSTOM_MARK, Custom
from meshd.memory.prefixes import Rules


def customs_of(rules: Rules) -> dict[str, Custom]:
    """Return the functions the rules name, by name.

    Raises:
        ConfigurationError: one cannot be imported.
    """
    policies: Iterable[str] = {rules.default.policy, *(rule.policy for rule in rules.prefixes.values())}
    names = sorted(policy.removeprefix(CUSTOM_MARK) for policy in policies if policy.startswith(CUSTOM_MARK))
    return {name: load(name) for name in names}


def load(name: str) -> Custom:
    """Return the function at `package.module:function`.

    Raises:
        ConfigurationError: there is none.
    """
    module, _, attribute = name.partition(":")
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, ValueError, AttributeError) as exc:
        raise ConfigurationError(f"conflict policy {CUSTOM_MARK}{name}: write module:function ({exc})") from exc
    if not callable(function):
        raise ConfigurationError(f"conflict policy {CUSTOM_MARK}{name} is no function")
    return function  # type: ignore[no-any-return]
