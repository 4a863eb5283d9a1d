"""PerQuery: an open, self-hostable, pay-per-query AI gateway."""

__version__ = "0.1.0"
