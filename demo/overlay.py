"""One picture a study: the slice that matters most, the found lesions outlined, the reference beside."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from demo.comparison import Mask
from services.triage.volume import Volume

LUNG_WINDOW_HU = (-1350.0, 150.0)
SIDE = 768
CLOSE_UP_MM = 90.0
FOUND = (255, 80, 60)
REFERENCE = (80, 220, 120)
NOTICE = "Demonstration model. Not a medical device. Scores are not calibrated on patients."

Rgb = npt.NDArray[np.uint8]


def write_overlay(path: Path, *, title: str, volume: Volume, segments: Sequence[Mask], reference: Mask | None) -> None:
    """Write a PNG: the slice with most lesion area (else most reference, else the middle), whole and as a close-up.

    segments, reference: masks [slice, row, column] on the volume's grid.
    """
    found = np.logical_or.reduce(segments) if segments else np.zeros(volume.voxels.shape, dtype=bool)
    index, (row, column) = _point_of_interest(found, reference)
    outlines = [(found[index], FOUND)] + ([(reference[index], REFERENCE)] if reference is not None else [])
    half_mm = CLOSE_UP_MM / 2
    rows, columns = volume.voxels.shape[1:]
    _, row_mm, column_mm = volume.spacing_mm
    close_up = (
        slice(max(0, int(row - half_mm / row_mm)), min(rows, int(row + half_mm / row_mm))),
        slice(max(0, int(column - half_mm / column_mm)), min(columns, int(column + half_mm / column_mm))),
    )
    pictures = [_draw(volume.voxels[index], outlines, window) for window in ((slice(None), slice(None)), close_up)]
    canvas = Image.fromarray(np.hstack(pictures))
    legend = "red: found" + (", green: reference" if reference is not None else "")
    _write(canvas, title, f"slice {index + 1} of {len(volume.voxels)} from the feet; {legend}")
    canvas.save(path)


def _point_of_interest(found: Mask, reference: Mask | None) -> tuple[int, tuple[float, float]]:
    for mask in (found, reference):
        if mask is not None and mask.any():
            index = int(mask.sum(axis=(1, 2)).argmax())
            row, column = np.argwhere(ndimage.label(mask[index])[0] == 1).mean(axis=0)
            return index, (float(row), float(column))
    slices, rows, columns = found.shape
    return slices // 2, (rows / 2, columns / 2)


def _draw(
    voxels: npt.NDArray[np.number], outlines: Sequence[tuple[Mask, tuple[int, int, int]]], window: tuple[slice, slice]
) -> Rgb:
    low, high = LUNG_WINDOW_HU
    grey = np.clip((voxels[window].astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    picture = np.array(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB"))
    for mask, colour in outlines:
        large = np.array(Image.fromarray(mask[window]).resize((SIDE, SIDE), Image.Resampling.NEAREST))
        picture[large & ~ndimage.binary_erosion(large, iterations=2)] = colour
    return picture


def _write(canvas: Image.Image, title: str, caption: str) -> None:
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=18)
    for top, text in ((8, title), (SIDE - 52, caption), (SIDE - 28, NOTICE)):
        pen.text((10, top), text, fill="white", font=font, stroke_width=2, stroke_fill="black")
