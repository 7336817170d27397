"""Keys as text, and which key a request uses, written the obvious way."""

import math
from itertools import islice

from kvbench.load.plan import Keys
from tests.naive.rng import signed, splitmix64


def number(key: int, counter: int) -> int:
    """The ``counter``-th number of a stream, 0 to 2**64 - 1."""
    return next(islice(splitmix64(key), counter, None))


def unit(key: int, counter: int) -> float:
    """The same as a float64 in [0, 1)."""
    return (number(key, counter) >> 11) / (1 << 53)


def name(keys: Keys, digits: int, directory_digits: int, key_index: int) -> bytes:
    """A key's bytes."""
    if keys.fanout:
        directory, place = divmod(key_index, keys.fanout)
        text = f"{keys.prefix}{directory:0{directory_digits}d}/{place:0{digits}d}"
    else:
        text = f"{keys.prefix}{key_index:0{digits}d}"
    return text.encode().ljust(keys.size_bytes, b".")


def zipfian_weights(count: int, theta: float) -> list[float]:
    """Probability of every rank."""
    weights = [(rank + 1) ** -theta for rank in range(count)]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def zipfian_rank(key: int, index: int, count: int, theta: float) -> int:
    """Rejection-inversion with the hat's integral in closed form; theta is not 1."""

    def area(x: float) -> float:
        return (math.pow(x, 1 - theta) - 1) / (1 - theta)

    def area_inverse(y: float) -> float:
        return math.pow(max(1 + y * (1 - theta), 0.0), 1 / (1 - theta))

    first, last = area(1.5) - 1, area(count + 0.5)
    drawn, tries = unit(key, index), 0
    while True:
        y = last + drawn * (first - last)
        rank = min(max(math.floor(area_inverse(y) + 0.5), 1), count)
        if y >= area(rank + 0.5) - rank**-theta:
            return rank - 1
        tries += 1
        drawn = unit(signed(number(key, index)), tries)
