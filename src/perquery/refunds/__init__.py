"""Unspent deposits given back over Lightning: docs/refunds.md. The only caller of `payouts`."""
