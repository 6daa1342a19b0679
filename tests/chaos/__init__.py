"""Troubles that a run must come through, bit for bit: a short form for every day, a long one by hand."""
