"""`python -m perquery` is `perquery`."""

from perquery.cli import main

main()
