"""The outline of a set of pixels, along their edges: drawn around a lesion, never over it."""

import numpy as np
import numpy.typing as npt

Corner = tuple[int, int]
RIGHT, DOWN, LEFT, UP = (1, 0), (0, 1), (-1, 0), (0, -1)


def outlines(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float64]]:
    """Closed lines around a mask [row, column], and around its holes; pixels that meet at a corner stay apart.

    Each line is an array [point, (column, row)] whose last point is its first, in the image coordinates of PS3.3
    C.10.5: the corner of the first pixel is (0, 0), its centre (0.5, 0.5), where our indices say 0. So what the lines
    enclose are exactly the mask's pixels. Outer lines run clockwise as seen, holes the other way.
    """
    edges = _edges(mask)
    lines = []
    while edges:
        lines.append(_line(edges))
    return lines


def _edges(mask: npt.NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """Steps along pixel edges that have the mask on their right, by the corner that they start from."""
    if not mask.any():
        return {}
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    padded = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    inside = padded[1:-1, 1:-1]
    # for each side of a pixel: what lies beyond it, the corner where its step starts, and the step
    sides = (
        (padded[:-2, 1:-1], (0, 0), RIGHT),
        (padded[1:-1, 2:], (1, 0), DOWN),
        (padded[2:, 1:-1], (1, 1), LEFT),
        (padded[1:-1, :-2], (0, 1), UP),
    )
    edges: dict[Corner, list[Corner]] = {}
    for beyond, (right, down), step in sides:
        for row, column in np.argwhere(inside & ~beyond).tolist():
            edges.setdefault((left + column + right, top + row + down), []).append(step)
    return edges


def _line(edges: dict[Corner, list[Corner]]) -> npt.NDArray[np.float64]:
    """Take one closed line out of the edges: its corners, the first again at the end."""
    start = point = next(iter(edges))
    step: Corner = (0, 0)
    corners: list[Corner] = []
    while not corners or point != start:
        steps = edges[point]
        right_turn = (-step[1], step[0])  # where two pixels meet at a corner, the turn that stays with the same one
        following = right_turn if right_turn in steps else steps[0]
        steps.remove(following)
        if not steps:
            del edges[point]
        if following != step:
            corners.append(point)
        point = (point[0] + following[0], point[1] + following[1])
        step = following
    return np.array([*corners, start], dtype=np.float64)
