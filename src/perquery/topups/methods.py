"""Ways to be paid as data: names, currencies, limits, expiry, bonus; and what an amount comes to under them.

The same data is `GET /topup/payment-methods` and the check of every new invoice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from perquery import money
from perquery.config import ConfigError, RailSetting, Settings
from perquery.errors import BadRequest
from perquery.rails import coins, tokens
from perquery.rails.coins import Ladder
from perquery.rails.tokens import Token


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency in which a caller may state an amount: from `least` to `most`, at most `digits` after the point.

    units_per_step: the coin's smallest units in 10^-digits of it; None for USD, which needs a rate.
    """

    code: str
    digits: int
    units_per_step: int | None
    least: Decimal
    most: Decimal


@dataclass(frozen=True, slots=True)
class Method:
    """A way to be paid. Its smallest unit is 10^-coin_digits of the coin, called `unit`; amounts due are multiples of
    `quantum`.

    uri: of a payment to an address (BIP 21, ERC-681), which can be made for ever; None: a payable that expires.
    networks: on which the same address may be paid, as the operator has chosen them.
    confirmations: from so many whole coins on, so many; none for what is final at once. page: the payable is a web page
    to pay on. first_week_nano: the most that an account may ask for in its first seven days; None: no bound. coins:
    what the payer may choose on that page, by the names that the service behind has for them.
    """

    name: str
    display_name: str
    coin: str
    coin_digits: int
    unit: str
    quantum: int
    expiry_s: int
    bonus: money.Ratio | None
    currencies: tuple[Currency, ...]
    uri: str | None = None
    confirmations: Ladder = ()
    page: bool = False
    first_week_nano: int | None = None
    networks: tuple[Token, ...] = ()
    coins: tuple[str, ...] = ()

    @property
    def units_per_coin(self) -> int:
        return int(10**self.coin_digits)

    @property
    def networked(self) -> bool:
        """Whether an address is good on several networks, with a URI for each."""
        return self.uri is not None and "{contract}" in self.uri


@dataclass(frozen=True, slots=True)
class Terms:
    """What an invoice is for: nano-USD that it credits, units of the coin due, nano-USD that earn the bonus."""

    currency: Currency
    amount: Decimal
    amount_nano: int
    due: int
    bonus_cap_nano: int

    @property
    def columns(self) -> dict[str, Any]:
        """As they are written down with the invoice."""
        return {
            "currency": self.currency.code,
            "amount": format(self.amount, "f"),
            "amount_nano": self.amount_nano,
            "crypto_due": self.due,
            "bonus_cap_nano": self.bonus_cap_nano,
        }


# The limits, expiry and bonus are those of PPQ's published API.
LIGHTNING = Method(
    name="btc-lightning",
    display_name="Bitcoin Lightning",
    coin="BTC",
    coin_digits=11,
    unit="msat",
    quantum=1_000,
    expiry_s=900,
    bonus=money.Ratio(5, 100),
    currencies=(
        Currency("USD", 9, None, Decimal("0.1"), Decimal(1_000)),
        Currency("BTC", 8, 1_000, Decimal("0.000001"), Decimal("0.01")),
        Currency("SATS", 0, 1_000, Decimal(100), Decimal(1_000_000)),
    ),
)
BITCOIN = Method(
    name="btc",
    display_name="Bitcoin",
    coin="BTC",
    coin_digits=8,
    unit="sat",
    quantum=1,
    expiry_s=3_600,
    bonus=None,
    currencies=(
        Currency("USD", 9, None, Decimal(10), Decimal(10_000)),
        Currency("BTC", 8, 1, Decimal("0.0001"), Decimal("0.01")),
    ),
    uri="bitcoin:{address}?amount={coins}",
    confirmations=coins.BITCOIN.ladder,
)
LITECOIN = Method(
    name="ltc",
    display_name="Litecoin",
    coin="LTC",
    coin_digits=8,
    unit="litoshi",
    quantum=1,
    expiry_s=3_600,
    bonus=None,
    currencies=(
        Currency("USD", 9, None, Decimal(2), Decimal(1_000)),
        Currency("LTC", 8, 1, Decimal("0.03"), Decimal(100)),
    ),
    uri="litecoin:{address}?amount={coins}",
    confirmations=coins.LITECOIN.ladder,
)
MONERO = Method(
    name="xmr",
    display_name="Monero",
    coin="XMR",
    coin_digits=12,
    unit="piconero",
    quantum=1,
    expiry_s=3_600,
    bonus=None,
    currencies=(
        Currency("USD", 9, None, Decimal(5), Decimal(10_000)),
        Currency("XMR", 9, 1_000, Decimal("0.01"), Decimal(50)),
    ),
    uri="monero:{address}?tx_amount={coins}",
    confirmations=coins.MONERO_LADDER,
)
LIQUID = Method(
    name="lbtc",
    display_name="Liquid Bitcoin",
    coin="BTC",  # which it is worth
    coin_digits=8,
    unit="sat",
    quantum=1,
    expiry_s=3_600,
    bonus=None,
    currencies=(
        Currency("USD", 9, None, Decimal(2), Decimal(10_000)),
        Currency("LBTC", 8, 1, Decimal("0.00005"), Decimal("0.1")),
    ),
    uri=f"liquidnetwork:{{address}}?amount={{coins}}&assetid={coins.LIQUID_BITCOIN}",
    confirmations=coins.LIQUID_LADDER,
)
# Stripe takes no less than half a dollar; small cards cost more in fees than they bring.
CARD = Method(
    name="card",
    display_name="Card",
    coin="USD",
    coin_digits=2,
    unit="cent",
    quantum=1,
    expiry_s=3_600,
    bonus=None,
    currencies=(Currency("USD", 2, None, Decimal(5), Decimal(500)),),
    page=True,
    first_week_nano=100 * 10**9,
)
# The limits are this project's own: PPQ names no method for them.
USDC, USDT = (
    Method(
        name=code.lower(),
        display_name=code,
        coin=code,
        coin_digits=tokens.DIGITS,
        unit=f"nano-{code}",
        quantum=1_000,  # which every contract with 6 digits or more can pay
        expiry_s=3_600,
        bonus=None,
        currencies=(
            Currency("USD", 9, None, Decimal(5), Decimal(10_000)),
            Currency(code, 6, 1_000, Decimal(5), Decimal(10_000)),
        ),
        uri="ethereum:{contract}@{chain_id}/transfer?address={address}&uint256={units}",
    )
    for code in ("USDC", "USDT")
)
OTHER = Method(
    name="other",
    display_name="Other coins",
    coin="USD",  # what a payment was worth at the rate that was locked for its coin
    coin_digits=6,
    unit="micro-USD",
    quantum=10_000,
    expiry_s=3_600,
    bonus=None,
    currencies=(Currency("USD", 2, None, Decimal(5), Decimal(10_000)),),
    page=True,
)
_ALL = (LIGHTNING, BITCOIN, LITECOIN, LIQUID, MONERO, USDC, USDT, CARD, OTHER)
METHODS: Mapping[str, Method] = {method.name: method for method in _ALL}


def methods_from(settings: Settings) -> dict[str, Method]:
    """All methods by name, changed as the settings say. Raises ConfigError, naming the field."""
    return {name: _changed(method, settings.rails.get(name)) for name, method in METHODS.items()}


def _changed(method: Method, setting: RailSetting | None) -> Method:
    if setting is None:
        return method
    if setting.expiry_s is not None:
        method = replace(method, expiry_s=setting.expiry_s)
    if setting.bonus is not None:
        if not 0 <= setting.bonus <= 1:
            raise ConfigError(f"rails.{method.name}.bonus: must be between 0 and 1, is {setting.bonus}")
        method = replace(method, bonus=money.ratio(setting.bonus) if setting.bonus else None)
    if setting.first_week_usd is not None:
        method = replace(method, first_week_nano=money.nano(setting.first_week_usd))
    try:
        method = replace(method, networks=tokens.tokens_of(method.name, setting))
    except ValueError as error:
        raise ConfigError(f"rails.{method.name}.{error}") from error
    if setting.coins:
        method = replace(method, coins=setting.coins)
    if setting.confirmations:
        method = replace(method, confirmations=setting.confirmations)
    return replace(method, currencies=_limited(method, setting))


def _limited(method: Method, setting: RailSetting) -> tuple[Currency, ...]:
    limits = dict(setting.limits)
    changed = []
    for currency in method.currencies:
        least, most = limits.pop(currency.code, (currency.least, currency.most))
        where = f"rails.{method.name}.limits.{currency.code}"
        if not 0 < least <= most:
            raise ConfigError(f"{where}: must be [least, most], both above 0")
        try:
            money.scaled(least, currency.digits), money.scaled(most, currency.digits)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
        changed.append(replace(currency, least=least, most=most))
    if limits:
        known = ", ".join(currency.code for currency in method.currencies)
        raise ConfigError(f"rails.{method.name}.limits.{min(limits)}: not a currency of it; known are {known}")
    return tuple(changed)


def receivable(method: Method, units: int | None, usd_nano_per_coin: int | None) -> Method:
    """The method with nothing above `units` of the coin, which is what its wallet can receive (None: it does not
    say); a currency in which that is less than the least amount is left out, USD also where there is no rate.
    """
    if units is None:
        return method
    bounded = []
    for currency in method.currencies:
        if currency.units_per_step is not None:
            most = Decimal(units // currency.units_per_step).scaleb(-currency.digits)
        else:
            cents = units * (usd_nano_per_coin or 0) // method.units_per_coin // 10**7
            most = Decimal(cents).scaleb(-2)
        if most >= currency.least:
            bounded.append(replace(currency, most=min(most, currency.most)))
    return replace(method, currencies=tuple(bounded))


def terms(method: Method, amount: Any, currency: Any, usd_nano_per_coin: int) -> Terms:
    """Check what a caller asks for and price it. BadRequest names the parameter and what would be right."""
    chosen = _currency(method, currency)
    value = _amount(chosen, amount)
    if not chosen.least <= value <= chosen.most:
        low, high = (format(limit.normalize(), "f") for limit in (chosen.least, chosen.most))
        raise BadRequest(f"amount must be between {low} and {high} {chosen.code}", param="amount")
    if chosen.units_per_step is None:
        amount_nano = money.nano(value)
        due = -(-amount_nano * method.units_per_coin // (usd_nano_per_coin * method.quantum)) * method.quantum
        return Terms(chosen, value, amount_nano, due, money.nano(chosen.most))
    due, most = (money.scaled(number, chosen.digits) * chosen.units_per_step for number in (value, chosen.most))
    amount_nano, cap = (units * usd_nano_per_coin // method.units_per_coin for units in (due, most))
    return Terms(chosen, value, amount_nano, due, cap)


def _currency(method: Method, code: Any) -> Currency:
    """The currency meant; USD where none is named."""
    by_code = {currency.code: currency for currency in method.currencies}
    code = "USD" if code is None else code
    chosen = by_code.get(code.upper()) if isinstance(code, str) else None
    if chosen is None:
        raise BadRequest(f"currency must be one of {', '.join(by_code)}", param="currency")
    return chosen


def _amount(currency: Currency, amount: Any) -> Decimal:
    example = f'such as {{"amount": {format(currency.least.normalize(), "f")}, "currency": "{currency.code}"}}'
    if isinstance(amount, bool) or not isinstance(amount, int | str | Decimal):
        raise BadRequest(f"amount must be a number, {example}", param="amount")
    # A Decimal such as 1E+999999999 is a gigabyte when written out: look at its size before anything else does.
    if isinstance(amount, Decimal) and not (amount.is_finite() and abs(amount.adjusted()) <= 18):
        raise BadRequest(f"amount is out of all bounds; give a plain number, {example}", param="amount")
    try:
        value = money.decimal(amount)
        money.scaled(value, currency.digits)
    except ValueError as error:
        digits = f"at most {currency.digits} digits after the point" if currency.digits else "no fraction"
        raise BadRequest(f"amount must be a plain number with {digits}, {example}", param="amount") from error
    return value
