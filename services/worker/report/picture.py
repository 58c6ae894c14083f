"""The picture of a lesion on its key slice. It is given pixels and words, and no header: no patient can get into it.

From top to bottom: the caption (label and score; where the slice is and how large the lesion), the image, the footer
(software, model and window; 'not for diagnosis'). Words stand above and below the image, not over the anatomy; over it
are only the rings around lesions, their names beside them, and the letters of the patient's directions at the edges.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import distance_transform_edt

from services.worker.report.layout import Box, box_of, place
from services.worker.report.lettering import EDGE, GREY, TAG_SIZE, Colour, font_of, framed, size_of, write

Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

# The longer side of the image has at least so many pixels (smaller ones are enlarged), and at most so many.
LEAST_SIDE, MOST_SIDE = 512, 2048
# A ring begins so many pixels outside of its lesion, of which it hides nothing, and is so many wide.
RING_GAP, RING_WIDTH = 2, 2
OPPOSITE = str.maketrans("LRPAHF", "RLAPFH")


@dataclass(frozen=True, kw_only=True)
class Tag:
    """A lesion in the picture: its value in the label map, its name, its colour."""

    value: int
    text: str
    colour: Colour


@dataclass(frozen=True, kw_only=True)
class KeySlice:
    """What is drawn. grey, labels: [row, column]; spacing_mm along (row, column) index.

    directions: in the patient, to the right along a row and down along a column (`L`, `P`). tags: the lesion of the
    picture first. caption, footer: lines of words.
    """

    grey: npt.NDArray[np.uint8]
    labels: Labels
    spacing_mm: tuple[float, float]
    directions: tuple[str, str]
    tags: Sequence[Tag]
    caption: Sequence[str]
    footer: Sequence[str]


def draw(key: KeySlice) -> npt.NDArray[np.uint8]:
    """The picture as RGB, [row, column, colour], in square pixels, at least 512 wide."""
    width, height = canvas_size(key.grey.shape, key.spacing_mm)
    labels = _enlarged(key.labels, width, height)
    pixels = np.array(Image.fromarray(key.grey).resize((width, height), Image.Resampling.BICUBIC).convert("RGB"))
    for tag in reversed(key.tags):  # the lesion of the picture last, over the others
        pixels[_ring(labels, tag.value)] = tag.colour
    image = Image.fromarray(pixels)
    _name(image, key, labels)
    return framed(image, key.caption, key.footer, key.tags[0].colour)


def canvas_size(shape: tuple[int, ...], spacing_mm: tuple[float, float]) -> tuple[int, int]:
    """Width and height of an image [row, column] in square pixels.

    They are as large as the finer of the two spacings, where that keeps the longer side between least and most.
    """
    height_mm, width_mm = shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]
    longer_mm = max(height_mm, width_mm)
    pixel_mm = max(min(*spacing_mm, longer_mm / LEAST_SIDE), longer_mm / MOST_SIDE)
    return max(round(width_mm / pixel_mm), 1), max(round(height_mm / pixel_mm), 1)


def _enlarged(labels: Labels, width: int, height: int) -> Labels:
    """Labels on the grid of the picture, each pixel that of the source under its centre."""
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(int)
    return labels[np.ix_(rows, columns)]


def _ring(labels: Labels, value: int) -> npt.NDArray[np.bool_]:
    """The pixels of a line around a lesion; never on it, nor on another lesion."""
    if not (labels == value).any():  # thinner than a pixel of the picture
        return np.zeros(labels.shape, dtype=bool)
    outside = np.asarray(distance_transform_edt(labels != value))
    ring = (outside > RING_GAP) & (outside <= RING_GAP + RING_WIDTH) & (labels == 0)
    return np.asarray(ring, dtype=bool)


def _name(image: Image.Image, key: KeySlice, labels: Labels) -> None:
    """Write the directions at the edges, and the names beside the lesions."""
    font = font_of(TAG_SIZE, max(image.size))
    taken = []
    for (x, y), text in _edges(key.directions).items():
        width, height = size_of(text, font)
        left, top = x * (image.width - width), y * (image.height - height)
        taken.append(Box(left=left, top=top, right=left + width, bottom=top + height))
        write(image, (left, top), text, font, GREY)
    lesions = {tag.value: _around(labels == tag.value) for tag in key.tags if (labels == tag.value).any()}
    for tag in (tag for tag in key.tags if tag.value in lesions):
        others = [*taken, *(box for value, box in lesions.items() if value != tag.value)]
        size = size_of(tag.text, font)
        box = place(size, lesions[tag.value], within=image.size, taken=others, gap=(EDGE, EDGE))
        taken.append(box)
        write(image, (box.left, box.top), tag.text, font, tag.colour)


def _around(mask: npt.NDArray[np.bool_]) -> Box:
    """The box around a lesion and its ring."""
    box, ring = box_of(mask), RING_GAP + RING_WIDTH
    return Box(left=box.left - ring, top=box.top - ring, right=box.right + ring, bottom=box.bottom + ring)


def _edges(directions: tuple[str, str]) -> dict[tuple[float, float], str]:
    """The letters of the four directions, by where they stand: (0, 0.5) is the middle of the left edge."""
    right, down = directions
    return {
        (1.0, 0.5): right,
        (0.0, 0.5): right.translate(OPPOSITE),
        (0.5, 1.0): down,
        (0.5, 0.0): down.translate(OPPOSITE),
    }
