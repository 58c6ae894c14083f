"""Words in a picture, in Pillow's own font (Aileron), and the frame of words around an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# What sizes of text are meant for; a wider picture has larger text, for it is shown smaller.
NOMINAL_WIDTH = 512
CAPTION_SIZE, TEXT_SIZE, TAG_SIZE = 20, 16, 16
LINE_SPACING = 1.3
# Around the words of a caption, and around words over an image.
MARGIN, EDGE = 8, 3
# What is left of the image's light under words: they can be read on bone, and the bone is still seen.
SHADE = 0.3
WHITE, GREY, YELLOW, BLACK = (255, 255, 255), (200, 200, 200), (255, 220, 0), (0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of words."""

    text: str
    font: Font
    colour: Colour

    @property
    def height(self) -> int:
        """Pixels from this line to the next."""
        return round(self.font.size * LINE_SPACING) if isinstance(self.font, ImageFont.FreeTypeFont) else 12


@cache
def font_of(size: int, width: int) -> Font:
    """The font for a picture of that width in pixels; `size` is in pixels of one of `NOMINAL_WIDTH`."""
    return ImageFont.load_default(max(round(size * width / NOMINAL_WIDTH), size))


def size_of(text: str, font: Font) -> tuple[float, float]:
    """Width and height in pixels of words and the shade around them."""
    left, top, right, bottom = font.getbbox(text)
    return right - left + 2 * EDGE, bottom - top + 2 * EDGE


def write(image: Image.Image, corner: tuple[float, float], text: str, font: Font, colour: Colour) -> None:
    """Write words over an image, which is darkened under them; corner: (x, y) of their upper left."""
    x, y = round(corner[0]), round(corner[1])
    width, height = size_of(text, font)
    under = image.crop((x, y, x + round(width), y + round(height)))
    image.paste(under.point([round(level * SHADE) for level in range(256)] * len(under.getbands())), (x, y))
    left, top, _, _ = font.getbbox(text)
    ImageDraw.Draw(image).text((x - left + EDGE, y - top + EDGE), text, fill=colour, font=font)


def framed(image: Image.Image, caption: Sequence[str], footer: Sequence[str], colour: Colour) -> npt.NDArray[np.uint8]:
    """The image in the middle of a picture that is wide enough to be read, under its caption and over its footer.

    The caption's first line is large and in `colour`, the footer's last one is a warning. RGB [row, column, colour].
    """
    width = max(image.width, NOMINAL_WIDTH)
    large, small = font_of(CAPTION_SIZE, width), font_of(TEXT_SIZE, width)
    above = [Line(text=text, font=small, colour=WHITE) for text in caption[1:]]
    below = [Line(text=text, font=small, colour=WHITE) for text in footer[:-1]]
    above = _wrapped([Line(text=caption[0], font=large, colour=colour), *above], width)
    below = _wrapped([*below, Line(text=footer[-1], font=small, colour=YELLOW)], width)
    top, bottom = (sum(line.height for line in lines) + 2 * MARGIN for lines in (above, below))
    picture = Image.new("RGB", (width, top + image.height + bottom), BLACK)
    picture.paste(image, ((width - image.width) // 2, top))
    pen = ImageDraw.Draw(picture)
    for lines, first in ((above, MARGIN), (below, top + image.height + MARGIN)):
        y = first
        for line in lines:
            pen.text((MARGIN, y), line.text, fill=line.colour, font=line.font)
            y += line.height
    return np.array(picture)


def _wrapped(lines: Sequence[Line], width: int) -> list[Line]:
    """The same words in lines that fit between the margins; a word that is too long is broken."""
    return [
        Line(text=part, font=line.font, colour=line.colour)
        for line in lines
        for part in _parts(line.text, line.font, width - 2 * MARGIN)
    ]


def _parts(text: str, font: Font, room: float) -> list[str]:
    parts = [""]
    for word in text.split():
        longer = f"{parts[-1]} {word}".strip()
        if font.getlength(longer) <= room:
            parts[-1] = longer
            continue
        parts.append("")
        for letter in word:
            if font.getlength(parts[-1] + letter) > room:
                parts.append("")
            parts[-1] += letter
    return [part for part in parts if part]
