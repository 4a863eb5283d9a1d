"""Which wallet pays out, as the settings say: none unless they do.

A sandbox gateway has the sandbox's wallet and nothing else, a live one never has it. The credential of a rail is
refused: what receives must not be able to spend.
"""

from __future__ import annotations

from perquery.config import ConfigError, Settings
from perquery.outbound import Client
from perquery.payouts.lnbits import LnbitsPayer
from perquery.payouts.sandbox import SandboxPayer


def open_wallet(settings: Settings, client: Client) -> LnbitsPayer | SandboxPayer | None:
    """Raises ConfigError, naming the field."""
    chosen = settings.refunds
    if chosen is None or not chosen.enabled:
        return None
    if settings.sandbox != (chosen.backend == "sandbox"):
        right = "a sandbox has only" if settings.sandbox else "only `serve --sandbox` has"
        raise ConfigError(f'refunds.backend: {right} the wallet "sandbox", which moves no real coins')
    if chosen.backend == "sandbox":
        return SandboxPayer(settings.data)
    if not chosen.url or not chosen.key:
        raise ConfigError(f"refunds.{'key' if chosen.url else 'url'}: {chosen.backend} needs it")
    if any(rail.key == chosen.key for rail in settings.rails.values()):
        raise ConfigError("refunds.key: this is the key of a rail; pay out from a wallet of its own")
    return LnbitsPayer(client, chosen.url, chosen.key)
