"""An account's connected wallet: connect, show, disconnect. It must never show a secret, nor write one unencrypted."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol, TypeAlias

from perquery import money
from perquery.accounts import Allowance
from perquery.autotopup.vault import Sealed, Vault
from perquery.errors import BadRequest, TooManyRequests, Unavailable
from perquery.nwc import Connection, Info, NoAnswer
from perquery.rails.backends import LIGHTNING
from perquery.store import wallets
from perquery.store.database import Database
from perquery.store.invoices import InvoiceRow
from perquery.store.wallets import AttemptRow, WalletRow
from perquery.topups.service import Topups

THRESHOLD_USD: Final = Decimal(10)
THRESHOLD_LEAST_USD: Final = Decimal(5)
AMOUNT_USD: Final = Decimal(10)
AMOUNT_LEAST_USD: Final = Decimal(1)
THRESHOLD_MOST_USD: Final = Decimal(10_000)
LIMIT_MOST_USD: Final = Decimal(1_000_000)
DAILY_AMOUNTS: Final = 10  # a day's limit and a month's, where the caller sets none: so many times the amount
MONTHLY_AMOUNTS: Final = 100
ATTEMPTS_SHOWN: Final = 20
CONNECT_S: Final = 15.0
_CONNECTS_HOURLY: Final = 20
_HOUR_S: Final = 3_600


class Wallet(Protocol):
    """A wallet on its relays (`nwc.client.NwcClient`). Raises NoAnswer, WalletError."""

    async def info(self, timeout_s: float) -> Info: ...

    def sign(
        self, method: str, params: Mapping[str, Any], encryption: str, expires_at: int | None, created_at: int
    ) -> str: ...

    async def send(self, event_json: str, timeout_s: float) -> dict[str, Any]: ...


OpenWallet: TypeAlias = Callable[[Connection], AbstractAsyncContextManager[Wallet]]


@dataclass(frozen=True, slots=True)
class View:
    """What an account sees: its wallet, and its latest attempts with their invoices."""

    wallet: WalletRow | None
    attempts: Sequence[tuple[AttemptRow, InvoiceRow | None]]


@dataclass(frozen=True, slots=True)
class _Wanted:
    connection: Connection
    threshold_nano: int
    amount_nano: int
    daily_nano: int
    monthly_nano: int


class Connections:
    """One per process. now: seconds, for the limit of attempts to connect; clock: milliseconds."""

    def __init__(
        self,
        database: Database,
        topups: Topups,
        open_wallet: OpenWallet,
        vault: Vault,
        clock: Callable[[], int],
        now: Callable[[], float],
    ) -> None:
        self._database = database
        self._topups = topups
        self._open = open_wallet
        self._vault = vault
        self._clock = clock
        self._connects = Allowance(_CONNECTS_HOURLY, _HOUR_S, now)

    async def connect(self, account_id: int, body: dict[str, Any]) -> View:
        """Connect a wallet in place of the account's present one; the wallet is asked what it can do.

        Raises BadRequest (parameter, and what is right), TooManyRequests, Unavailable.
        """
        wanted = _wanted(body, self._most_usd())
        if wait_s := self._connects.take(str(account_id)):
            raise TooManyRequests(
                f"Too many wallets were connected; try again in {wait_s} s.", headers={"retry-after": str(wait_s)}
            )
        encryption = await self._checked(wanted.connection)
        connection_id = secrets.token_hex(16)
        try:
            sealed = self._vault.seal(wanted.connection.uri(), connection_id)
        except Sealed as error:
            text = "This gateway cannot keep a wallet's secret: its operator must set `secret_key`."
            raise Unavailable(text, code="auto_topup_unavailable") from error
        row = WalletRow(
            account_id=account_id,
            connection_id=connection_id,
            sealed=sealed,
            shown=shown(wanted.connection),
            encryption=encryption,
            threshold_nano=wanted.threshold_nano,
            amount_nano=wanted.amount_nano,
            daily_nano=wanted.daily_nano,
            monthly_nano=wanted.monthly_nano,
            connected_at=self._clock(),
        )
        return await asyncio.to_thread(self._put, row)

    async def show(self, account_id: int) -> View:
        return await asyncio.to_thread(self._view, account_id)

    async def disconnect(self, account_id: int) -> View:
        """Forget the wallet and its secret; again does no harm. A payment that is under way is still credited."""
        return await asyncio.to_thread(self._remove, account_id)

    async def _checked(self, connection: Connection) -> str:
        """How the wallet wants to be written to. Raises BadRequest where it is not there, or may not pay."""
        try:
            async with self._open(connection) as wallet:
                info = await wallet.info(CONNECT_S)
        except NoAnswer as error:
            text = f"The wallet could not be reached: {error}. Is it online, and the address whole?"
            raise BadRequest(text, param="nwc_url", code="wallet_unreachable") from error
        if "pay_invoice" not in info.methods:
            offers = ", ".join(sorted(info.methods)) or "nothing"
            text = f"The wallet must allow this connection `pay_invoice`; it offers {offers}."
            raise BadRequest(text, param="nwc_url", code="wallet_cannot_pay")
        return info.encryption

    def _most_usd(self) -> Decimal:
        """The largest invoice that can be had now. Raises BadRequest, Unavailable where there is no Lightning."""
        for currency in self._topups.method(LIGHTNING).currencies:
            if currency.code == "USD":
                return currency.most
        raise Unavailable("There is no exchange rate now; try again later.", code="rate_unavailable")

    def _put(self, row: WalletRow) -> View:
        with self._database.writer.begin() as connection:
            wallets.lock_account(connection, row.account_id)
            wallets.put(connection, row)
        return self._view(row.account_id)

    def _remove(self, account_id: int) -> View:
        with self._database.writer.begin() as connection:
            wallets.lock_account(connection, account_id)
            wallets.remove(connection, account_id)
        return self._view(account_id)

    def _view(self, account_id: int) -> View:
        with self._database.reader.begin() as connection:
            latest = wallets.latest(connection, account_id, ATTEMPTS_SHOWN)
            return View(wallets.find(connection, account_id), latest)


def shown(connection: Connection) -> str:
    """The address without its secret: what a client can show."""
    relays = "&".join(f"relay={relay}" for relay in connection.relays)
    return f"nostr+walletconnect://{connection.wallet}?{relays}"


def _wanted(body: dict[str, Any], most_usd: Decimal) -> _Wanted:
    url = body.get("nwc_url")
    if not isinstance(url, str) or not url:
        raise BadRequest("`nwc_url` must be your wallet's nostr+walletconnect:// address.", param="nwc_url")
    try:
        connection = Connection.parse(url.strip())
    except ValueError as error:
        raise BadRequest(f"`nwc_url`: {error}", param="nwc_url") from error
    threshold = _usd(body, "threshold_usd", THRESHOLD_USD, THRESHOLD_LEAST_USD, THRESHOLD_MOST_USD)
    amount = _usd(body, "topup_amount_usd", min(AMOUNT_USD, most_usd), min(AMOUNT_LEAST_USD, most_usd), most_usd)
    daily = _usd(body, "daily_limit_usd", amount * DAILY_AMOUNTS, amount, LIMIT_MOST_USD)
    monthly = _usd(body, "monthly_limit_usd", max(daily, amount * MONTHLY_AMOUNTS), amount, LIMIT_MOST_USD)
    return _Wanted(connection, money.nano(threshold), money.nano(amount), money.nano(daily), money.nano(monthly))


def _usd(body: dict[str, Any], name: str, default: Decimal, least: Decimal, most: Decimal) -> Decimal:
    """An amount of the body within its bounds, in whole cents. Raises BadRequest."""
    given = body.get(name)
    if given is None:
        return default
    right = f"`{name}` must be a number of dollars from {_plain(least)} to {_plain(most)}, such as {_plain(default)}."
    if isinstance(given, bool) or not isinstance(given, int | Decimal | str) or len(str(given)) > 20:
        raise BadRequest(right, param=name)
    try:
        cents = money.scaled(given, 2)
    except ValueError as error:
        raise BadRequest(right, param=name) from error
    value = Decimal(cents).scaleb(-2)
    if not least <= value <= most:
        raise BadRequest(right, param=name)
    return value


def _plain(value: Decimal) -> str:
    return format(value.normalize(), "f")
