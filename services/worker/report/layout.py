"""Where a label goes: beside what it names, over no lesion and over no other label."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in an image: x grows to the right, y downwards; in the units of that image."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """The area that two rectangles share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)


def box_of(mask: npt.NDArray[np.bool_]) -> Box:
    """The box around a mask [row, column] with at least one pixel, along pixel edges."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(left=float(columns[0]), top=float(rows[0]), right=float(columns[-1] + 1), bottom=float(rows[-1] + 1))


def place(
    size: tuple[float, float],
    named: Box,
    *,
    within: tuple[float, float],
    taken: Sequence[Box],
    gap: tuple[float, float],
) -> Box:
    """A box of a size for the label of what is named: to its right, left, below or above, whatever is first free.

    size, within (the image), gap: along (x, y). Where no place is free, that which covers least of what is taken;
    the label stays inside the image, or begins at its edge where it is wider than the image.
    """
    width, height = size
    middle_x, middle_y = (named.left + named.right - width) / 2, (named.top + named.bottom - height) / 2
    corners = (
        (named.right + gap[0], middle_y),
        (named.left - gap[0] - width, middle_y),
        (middle_x, named.bottom + gap[1]),
        (middle_x, named.top - gap[1] - height),
    )
    boxes = [_inside(x, y, size, within) for x, y in corners]
    return min(boxes, key=lambda box: sum(box.overlap(other) for other in (named, *taken)))


def _inside(x: float, y: float, size: tuple[float, float], within: tuple[float, float]) -> Box:
    left, top = max(min(x, within[0] - size[0]), 0.0), max(min(y, within[1] - size[1]), 0.0)
    return Box(left=left, top=top, right=min(left + size[0], within[0]), bottom=min(top + size[1], within[1]))
