"""Accounts and keys as the gateway uses them: who calls, new accounts, the care of keys.

The cache holds only what never changes (a credential's hash → its account, key and safety id). Whether a key is
revoked, expired or spent is decided with the hold, in the ledger's transaction; only what takes one may ask whom it is
`known` to come from.
Must never keep a credential itself, nor write one anywhere.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Any, Final, NewType, ParamSpec, TypeAlias, TypeVar
from urllib.parse import parse_qs

from sqlalchemy.exc import OperationalError

from perquery.config import Settings
from perquery.errors import LedgerUnavailable, TooManyRequests, Unauthorized
from perquery.store import credentials, grants, sessions
from perquery.store.database import Database

Credential = NewType("Credential", bytes)
Key: TypeAlias = credentials.KeyRow
Made: TypeAlias = credentials.Made
Grant: TypeAlias = grants.Grant
_P = ParamSpec("_P")
_T = TypeVar("_T")

CREDENTIAL_BYTES_MAX: Final = 512
CACHED_MAX: Final = 100_000
ADDRESSES_MAX: Final = 10_000
SIGN_INS_PER_ADDRESS_HOUR: Final = 60
HOUR_S: Final = 3_600
# In an ASGI scope: the Access that a page of ours has recognised by its session. No client can put it there.
RECOGNISED: Final = "perquery.access"
_KEY_PREFIX: Final = credentials.KEY_PREFIX.encode()
# PPQ's order of precedence.
_RANKS: Final = {b"authorization": 0, b"x-credit-id": 1, b"x-api-key": 2, b"api-key": 3}
_NONE: Final = len(_RANKS)


@dataclass(frozen=True, slots=True)
class Access:
    """Who calls. key_id: None where the account's credit id was shown, which may do everything. safety_id: what
    upstreams know the account by, and nobody else.
    """

    account_id: int
    key_id: str | None
    safety_id: str | None = field(default=None, repr=False)

    @property
    def master(self) -> bool:
        return self.key_id is None


def credential(value: bytes | str) -> Credential:
    """What may be a credential. Raises Unauthorized where it is empty or too long."""
    given = (value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")).strip()
    if not given or len(given) > CREDENTIAL_BYTES_MAX:
        raise Unauthorized("The API key or credit id is empty or too long.")
    return Credential(given)


def credentials_in(headers: Iterable[tuple[bytes, bytes]], query: bytes = b"") -> Credential | None:
    """The credential of a request: Bearer, else x-credit-id, x-api-key, api-key, else `credit_id` in the query.

    headers: as in an ASGI scope, names in lower case; the first of a name counts. Raises Unauthorized where the
    one that counts is empty or too long. Pure.
    """
    best, found = _NONE, b""
    for name, value in headers:
        if name not in _RANKS:
            continue
        rank = _RANKS[name]
        if rank < best and (rank or value[:7].lower() == b"bearer " or value.lower() == b"bearer"):
            best, found = rank, value
            if not rank:
                break
    if best == _NONE:
        return _in_query(query) if query else None
    return credential(found if best else found[7:])


def credit_id_in(headers: Iterable[tuple[bytes, bytes]]) -> Credential | None:
    """The x-credit-id header alone, whatever else is there."""
    return next((credential(value) for name, value in headers if name == b"x-credit-id"), None)


def _in_query(query: bytes) -> Credential | None:
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("credit_id")
    return credential(values[0]) if values else None


class Accounts:
    """One per process; used from its event loop only. `now` answers seconds, for the limit of new accounts."""

    def __init__(self, database: Database, settings: Settings, now: Callable[[], float]) -> None:
        self._database = database
        self._known: OrderedDict[bytes, Access] = OrderedDict()
        self._creations = Allowance(settings.limits.accounts_per_address_hour, HOUR_S, now)
        self._sign_ins = Allowance(SIGN_INS_PER_ADDRESS_HOUR, HOUR_S, now)

    def cached(self, given: Credential) -> Access | None:
        """Who this is, if it was seen before; it may have been revoked since."""
        hashed = sha256(given).digest()
        access = self._known.get(hashed)
        if access is not None:
            self._known.move_to_end(hashed)
        return access

    def known(self, scope: Mapping[str, Any]) -> Access | None:
        """Who sends a request, where that takes no look into the database: for who then asks for a hold.

        Raises Unauthorized for what cannot be a credential.
        """
        recognised: Access | None = scope.get(RECOGNISED)
        if recognised is not None:
            return recognised
        given = credentials_in(scope["headers"])
        return self.cached(given) if given is not None else None

    async def caller(self, scope: Mapping[str, Any]) -> Access:
        """Who sends a request: whom a page of ours has recognised, else whose credential its headers show.

        Raises Unauthorized, LedgerUnavailable."""
        recognised: Access | None = scope.get(RECOGNISED)
        return recognised or await self.authenticate(credentials_in(scope["headers"]))

    async def authenticate(self, given: Credential | None) -> Access:
        """Who calls, by the key's state as it is now. Raises Unauthorized, LedgerUnavailable."""
        if given is None:
            raise Unauthorized(
                "No API key: send Authorization: Bearer, x-credit-id or x-api-key.", code="missing_credentials"
            )
        hashed = sha256(given).digest()
        found = await _in_thread(self._look_up, hashed, given.startswith(_KEY_PREFIX))
        access = Access(found.account_id, found.key_id, found.safety_id)
        self._known[hashed] = access
        if len(self._known) > CACHED_MAX:
            self._known.popitem(last=False)
        return access

    def _look_up(self, hashed: bytes, is_key: bool) -> credentials.Proven:
        with self._database.reader.begin() as connection:
            return self._valid(credentials.proven(connection, hashed, is_key=is_key))

    def _valid(self, found: credentials.Proven | None) -> credentials.Proven:
        if found is None or found.deleted_at is not None:
            raise Unauthorized("Invalid API key: API key not found or has been revoked.")
        if found.expire_at is not None and found.expire_at <= self._database.now_ms():
            raise Unauthorized("This API key has expired.", code="api_key_expired")
        return found

    async def sign_in(self, given: Credential, address: str) -> Access:
        """Who this is, as a person shows it. address: the client's. Raises Unauthorized, TooManyRequests,
        LedgerUnavailable."""
        self.allow_sign_in(address)
        return await self.authenticate(given)

    def allow_sign_in(self, address: str) -> None:
        """Count one attempt to sign in, right or wrong. Raises TooManyRequests."""
        _take(self._sign_ins, address, "Too many attempts to sign in from this address")

    async def resume(self, session: str) -> Access:
        """Whose session it is, as things stand now. Raises Unauthorized where it has ended, or its key was revoked or
        has expired.
        """
        found = await _in_thread(self._look_again, session)
        return Access(found.account_id, found.key_id, found.safety_id)

    def _look_again(self, session: str) -> credentials.Proven:
        with self._database.reader.begin() as connection:
            held = sessions.held(connection, session, self._database.now_ms())
            if held is None or held.account_id is None:
                raise Unauthorized("This session has ended; sign in again.")
            return self._valid(credentials.proven_again(connection, held.account_id, held.key_id))

    async def create(self, address: str) -> Made:
        """A new account with its first key. address: the client's. Raises TooManyRequests, LedgerUnavailable."""
        _take(self._creations, address, "Too many accounts were created from this address")
        return await _in_thread(credentials.create_account, self._database)

    async def keys(self, account_id: int) -> list[Key]:
        """All keys, deleted ones too, oldest first."""
        return await _in_thread(credentials.list_keys, self._database, account_id)

    async def key(self, account_id: int, key_id: str) -> Key:
        """One key. Raises NotFound."""
        return await _in_thread(credentials.get_key, self._database, account_id, key_id)

    async def create_key(self, account_id: int, settings: Mapping[str, Any]) -> tuple[Key, str]:
        """A new key and its secret (`store.credentials.create_key`). Raises BadRequest."""
        return await _in_thread(credentials.create_key, self._database, account_id, settings)

    async def change_key(self, account_id: int, key_id: str, changes: Mapping[str, Any]) -> Key:
        """Set what `changes` names. Raises NotFound, BadRequest."""
        return await _in_thread(credentials.change_key, self._database, account_id, key_id, changes)

    async def delete_key(self, account_id: int, key_id: str) -> Key:
        """Revoke a key, at once on every worker. Raises NotFound."""
        return await _in_thread(credentials.delete_key, self._database, account_id, key_id)

    async def grant(self, given: Grant) -> str:
        """A code that an app may exchange for a key, once and soon."""
        return await _in_thread(grants.put, self._database, given)

    async def take_grant(self, code: str) -> Grant | None:
        """What the code stands for, which is used up with this; None where it stands for nothing (any more)."""
        return await _in_thread(grants.take, self._database, code)


async def _in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """The database's work, off the event loop. Raises LedgerUnavailable where the database does not answer."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OperationalError as error:
        raise LedgerUnavailable(
            "The database does not answer; try again shortly.", headers={"retry-after": "2"}
        ) from error


def _take(allowance: Allowance, address: str, words: str) -> None:
    if wait_s := allowance.take(_network(address)):
        raise TooManyRequests(
            f"{words}; try again in {wait_s} s.",
            headers={"retry-after": str(wait_s)},
            details={"retry_after_seconds": wait_s},
        )


def _network(address: str) -> str:
    """Whose address it is: an IPv6 client owns at least a /64."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)


class Allowance:
    """So many in a window of time for each name, given back steadily. Bounded: the longest idle are forgotten."""

    def __init__(self, limit: int, window_s: int, now: Callable[[], float], names_max: int = ADDRESSES_MAX) -> None:
        self._window_s = window_s
        self._each_s = window_s / limit
        self._now = now
        self._names_max = names_max
        self._spent_until: OrderedDict[str, float] = OrderedDict()

    def take(self, name: str) -> int:
        """Take one: 0, or where none is left the whole seconds until there is."""
        now = self._now()
        until = max(now, self._spent_until.get(name, now)) + self._each_s
        over_s = until - now - self._window_s
        if over_s > 1e-6:
            return max(1, ceil(over_s))
        self._spent_until[name] = until
        self._spent_until.move_to_end(name)
        if len(self._spent_until) > self._names_max:
            self._spent_until.popitem(last=False)
        return 0
