"""The benchmark: the gateway and nginx, one after the other, before the same upstream (`python -m bench`).

It measures; it must never be imported by the package, and no test waits for its figures.
"""
