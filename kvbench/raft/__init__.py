"""Consensus: a deterministic core without IO, clock or global randomness. ``core`` has what a node calls."""
