"""The one HTTP client for all that leaves the process."""

from perquery.outbound.client import Client
from perquery.outbound.connection import Response
from perquery.outbound.errors import Kind, OutboundError
from perquery.outbound.guard import refused_address

__all__ = ["Client", "Kind", "OutboundError", "Response", "refused_address"]
