"""Wallets that pay out over Lightning, each with a credential of its own; never the wallet that receives."""
