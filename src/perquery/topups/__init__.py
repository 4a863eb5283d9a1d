"""Money in: an invoice's life, crediting. The only caller of rails and of the ledger's credit and reverse."""
