"""Wallets that top up an account by themselves, over Nostr Wallet Connect: docs/auto-topup.md."""
