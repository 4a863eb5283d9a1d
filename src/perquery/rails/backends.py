"""Which wallet stands behind which rail: opens the rails that the settings name.

A sandbox gateway has the sandbox wallet and nothing else; a live one never has it: sandbox credit must not
become real.
"""

from __future__ import annotations

from collections.abc import Callable

from perquery.config import ConfigError, Settings
from perquery.rails.rail import Rail
from perquery.rails.sandbox import SandboxWallet

LIGHTNING = "btc-lightning"
_SANDBOX = "sandbox"


def open_rails(settings: Settings, clock: Callable[[], int]) -> dict[str, Rail]:
    """The rails by name. `clock`: milliseconds. Raises ConfigError, naming the field."""
    for name, rail in settings.rails.items():
        if name != LIGHTNING:
            raise ConfigError(f'rails.{name}: not a rail; known is "{LIGHTNING}"')
        if rail.backend != _SANDBOX:
            raise ConfigError(f'rails.{name}.backend: "{rail.backend}" is not known; known is "{_SANDBOX}"')
        if not settings.sandbox:
            raise ConfigError(f"rails.{name}.backend: the sandbox wallet serves only `serve --sandbox`")
    lightning = settings.rails.get(LIGHTNING)
    if not settings.sandbox or (lightning is not None and not lightning.enabled):
        return {}
    return {LIGHTNING: SandboxWallet(settings.data, clock)}
