"""Nostr Wallet Connect (NIP-47), the asking side: a wallet far away, reached over relays."""

from perquery.nwc.client import NwcClient
from perquery.nwc.uri import Connection
from perquery.nwc.wire import Info, NoAnswer, WalletError

__all__ = ["Connection", "Info", "NoAnswer", "NwcClient", "WalletError"]
