"""The only SQL: tables, migrations, the ledger, queries, credentials, invoices, the request log."""
