"""Models, routes, prices, aliases, capabilities: what can be called, by which name, through whom, at what price.

Pure but for reading its own package's data at build. See docs/models.md.
"""

from perquery.catalog.build import LOCAL_HOST, LOCAL_ID, LOCAL_MODEL, build
from perquery.catalog.models import Catalog, Found, Model, Unavailable
from perquery.catalog.price import Bound, Cost, UnpricedUsage, bound, cost

__all__ = [
    "LOCAL_HOST",
    "LOCAL_ID",
    "LOCAL_MODEL",
    "Bound",
    "Catalog",
    "Cost",
    "Found",
    "Model",
    "Unavailable",
    "UnpricedUsage",
    "bound",
    "build",
    "cost",
]
