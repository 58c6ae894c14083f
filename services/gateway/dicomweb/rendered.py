"""A frame as a picture (PS3.18 10.4.1.1, 8.3.5): modality and VOI transformation, region, size, JPEG or PNG."""

import re
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import Request
from PIL import Image
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing

from services.backends.files.pixels import UNREADABLE
from services.gateway.dicomweb.frames import PixelData
from services.gateway.dicomweb.negotiate import JPEG
from services.gateway.dicomweb.resource import bad_request
from services.gateway.dicomweb.stored import StoredFile, undecodable

MAX_SIDE = 4096
_FUNCTIONS = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
_NUMBER = r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?"
_WINDOW = re.compile(rf"({_NUMBER}),({_NUMBER}),([a-z-]+)")
_VIEWPORT = re.compile(r"([0-9]{1,4}),([0-9]{1,4})(?:,(-?[0-9]*),(-?[0-9]*),(-?[0-9]*),(-?[0-9]*))?")
_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_SAID_PER_FRAME = ("PixelValueTransformationSequence", "FrameVOILUTSequence")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How a frame is to be seen. `window`: center, width, function. `region`: x, y, width, height in pixels."""

    window: tuple[float, float, str] | None = None
    size: tuple[int, int] | None = None
    region: tuple[int, int, int, int] | None = None
    quality: int = 90


def view(request: Request) -> View:
    """Of the parameters window, viewport and quality. Raises ProblemError (400)."""
    told = request.query_params
    size, region = _viewport(told.get("viewport"))
    quality = told.get("quality", "90")
    if not re.fullmatch(r"[1-9][0-9]?|100", quality):
        raise bad_request("invalid_quality", "quality is not a whole number from 1 to 100.")
    return View(window=_window(told.get("window")), size=size, region=region, quality=int(quality))


def render(stored: StoredFile, number: int, wanted: View, media_type: str) -> bytes:
    """One frame, numbered from 1, as a JPEG or PNG file. Raises ProblemError (404, 406)."""
    with stored.open() as file:
        pixels = PixelData(stored, file)
        pixels.require([number])
        try:
            values, header = pixels.array(number), pixels.header
            _say_for_frame(header, number)
            colour = _colour(values, header)
            picture = Image.fromarray(grey_of(values, header, wanted.window) if colour is None else colour)
        except (*UNREADABLE, OSError) as error:
            raise undecodable() from error
    if wanted.region:
        picture = _cropped(picture, wanted.region)
    if wanted.size:
        scale = min(wanted.size[0] / picture.width, wanted.size[1] / picture.height)
        picture = picture.resize(
            (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.LANCZOS
        )
    content = BytesIO()
    picture.save(content, "JPEG", quality=wanted.quality) if media_type == JPEG else picture.save(content, "PNG")
    return content.getvalue()


def _window(text: str | None) -> tuple[float, float, str] | None:
    if text is None:
        return None
    told = _WINDOW.fullmatch(text.lower())
    function = told and _FUNCTIONS.get(told[3])
    # PS3.3 C.11.2.1.2: the width of a linear window is at least 1, of the others above 0
    if not told or not function or not (float(told[2]) >= 1 or (float(told[2]) > 0 and function != "LINEAR")):
        raise bad_request(
            "invalid_window",
            "window is not center,width,function, with a width of 1 or more.",
            "The function is linear, linear-exact or sigmoid: window=40,400,linear",
        )
    return float(told[1]), float(told[2]), function


def _viewport(text: str | None) -> tuple[tuple[int, int] | None, tuple[int, int, int, int] | None]:
    """Size and region; an omitted number of the region means the whole image (PS3.18 8.3.5.1)."""
    if text is None:
        return None, None
    told = _VIEWPORT.fullmatch(text)
    size = (int(told[1]), int(told[2])) if told else (0, 0)
    if not told or not all(0 < side <= MAX_SIDE for side in size):
        raise bad_request(
            "invalid_viewport",
            f"viewport is not width,height[,x,y,width,height] in pixels, with sides from 1 to {MAX_SIDE}.",
            "For example viewport=512,512 or, for a part of the image, viewport=512,512,100,100,50,50",
        )
    if told[3] is None:
        return size, None
    x, y, width, height = (int(told[group]) if told[group] not in ("", "-") else 0 for group in range(3, 7))
    return size, (x, y, width, height)


def _cropped(picture: Image.Image, region: tuple[int, int, int, int]) -> Image.Image:
    """The region, flipped where its width or height is negative."""
    x, y, width, height = region
    right = min(picture.width, x + (abs(width) or picture.width))
    bottom = min(picture.height, y + (abs(height) or picture.height))
    if not (0 <= x < right and 0 <= y < bottom):
        raise bad_request("invalid_viewport", "The region of viewport lies outside of the image.")
    picture = picture.crop((x, y, right, bottom))
    if width < 0:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if height < 0 else picture


def _say_for_frame(header: Dataset, number: int) -> None:
    """Bring what the functional groups say of this frame to the top (PS3.3 C.7.6.16.2.9, C.7.6.16.2.10)."""
    shared, per_frame = (header.get(keyword) or [] for keyword in _FUNCTIONAL_GROUPS)
    groups = [*shared[:1], *per_frame[number - 1 : number]]
    for group in groups:
        for keyword in _SAID_PER_FRAME:
            for item in group.get(keyword) or ():
                header.update(item)


def _colour(values: npt.NDArray[Any], header: Dataset) -> npt.NDArray[np.uint8] | None:
    """RGB, 8 bits, [row, column, sample]; None for a grey image. pydicom has made RGB of YCbCr."""
    if header.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, header)
    elif values.ndim != 3:
        return None
    bits = values.dtype.itemsize * 8
    return (values >> (bits - 8)).astype(np.uint8)


def grey_of(
    values: npt.NDArray[Any], header: Dataset, window: tuple[float, float, str] | None
) -> npt.NDArray[np.uint8]:
    """Grey, 8 bits, [row, column]: by the window asked for, else by the header, else from least to greatest value."""
    values = apply_modality_lut(values, header)
    grey = _by_window(values, *window) if window else _by_header(values, header)
    if header.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return np.asarray(np.clip(np.rint(grey), 0, 255), dtype=np.uint8)


def _by_header(values: npt.NDArray[Any], header: Dataset) -> npt.NDArray[Any]:
    table = (header.get("VOILUTSequence") or [None])[0]
    if table is not None:
        return np.asarray(apply_voi(values, header) * (255 / (2 ** int(table.LUTDescriptor[2]) - 1)))
    center, width = (_first(header.get(keyword)) for keyword in ("WindowCenter", "WindowWidth"))
    if center is not None and width is not None and width >= 1:
        return _by_window(values, center, width, header.get("VOILUTFunction") or "LINEAR")
    least, greatest = float(values.min()), float(values.max())
    return np.asarray((values - least) * (255 / ((greatest - least) or 1)))


def _first(value: Any) -> float | None:
    """The first window of several."""
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return None if value in (None, "") else float(value)


def _by_window(values: npt.NDArray[Any], center: float, width: float, function: str) -> npt.NDArray[Any]:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3, to 0..255: pydicom's own, told of values that have these 8 bits."""
    voi = Dataset()
    voi.PhotometricInterpretation, voi.BitsStored, voi.PixelRepresentation = "MONOCHROME2", 8, 0
    voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction = center, width, function
    return apply_windowing(values, voi)
