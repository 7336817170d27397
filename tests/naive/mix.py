"""Which operation: walk through the weights until the drawn share is used up."""

from collections.abc import Sequence
from fractions import Fraction


def choose(weights: Sequence[float], drawn: float) -> int:
    """The position whose share of the weights holds ``drawn``, which is in [0, 1)."""
    total = sum(map(Fraction, weights))
    left = Fraction(drawn) * total
    for position, weight in enumerate(weights):
        if left < Fraction(weight):
            return position
        left -= Fraction(weight)
    raise AssertionError("a share of at least 1 was drawn")
