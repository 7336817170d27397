"""Numbers of the independent random streams that a seed is split into (rt.rng.derive), one per choice."""

ARRIVALS = 1
KEYS = 2
SCRAMBLE = 3
MIX = 4
VALUES = 1000
"""And above: the value of a transaction's member m has the stream VALUES + m."""
