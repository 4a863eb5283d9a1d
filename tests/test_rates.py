"""Exchange rates."""

from __future__ import annotations

from decimal import Decimal

import pytest

from perquery.config import ConfigError, Settings
from perquery.errors import Unavailable
from perquery.rates import rates_from


def test_the_sandbox_has_a_rate_of_its_own() -> None:
    assert rates_from(Settings(mode="sandbox")).usd_nano_per_coin("BTC") == 100_000 * 10**9


def test_a_written_rate_is_exact() -> None:
    settings = Settings(usd_per_btc=Decimal("98765.123456789"))
    assert rates_from(settings).usd_nano_per_coin("BTC") == 98_765_123_456_789


@pytest.mark.parametrize("coin", ["BTC", "XMR"])
def test_without_a_rate_a_live_gateway_is_unavailable(coin: str) -> None:
    with pytest.raises(Unavailable) as caught:
        rates_from(Settings()).usd_nano_per_coin(coin)
    assert (caught.value.status, caught.value.code) == (503, "rate_unavailable")


@pytest.mark.parametrize("rate", ["0", "-1", "0.0000000001"])
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(ConfigError, match="usd_per_btc"):
        rates_from(Settings(usd_per_btc=Decimal(rate)))
