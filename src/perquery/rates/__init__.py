"""Exchange rates: what one whole coin is worth, fixed by the operator or the median of several public sources."""
