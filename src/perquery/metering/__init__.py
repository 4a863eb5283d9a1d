"""Money out: quote → hold → send → relay → settle.

The only caller of providers and of the ledger's hold, extend, settle and release.
"""
