"""What lines along pixel edges enclose."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def enclosed(lines: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The pixels whose centre an odd number of outlines runs around: a ray to the right crosses them so often."""
    inside = np.zeros(shape, dtype=bool)
    for line in lines:
        for (x, y), (to_x, to_y) in pairwise(line):
            assert (x == to_x) != (y == to_y)
            if x == to_x:
                inside[int(min(y, to_y)) : int(max(y, to_y)), : int(x)] ^= True
    return inside
