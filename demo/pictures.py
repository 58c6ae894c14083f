"""The overlays of a real CT as pictures, each drawn from the DICOM object alone: `make pictures` writes docs/pictures.

    .venv/bin/python -m demo.pictures [--output docs/pictures]

The Secondary Capture is decoded by dcmtk (dcm2pnm). Presentation state and Segmentation are drawn by what they say, on
the image that they refer to: nothing of Vigie's own code is asked.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import highdicom as hd
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset, dcmread
from rich.console import Console

from demo.studies import demo_studies

SIDE = 640
CONSOLE = Console(stderr=True)


def shown(image: Dataset, *, centre: float, width: float) -> Image.Image:
    """The image through a linear window (PS3.3 C.11.2.1.2), enlarged."""
    values = image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept)
    grey = np.clip((values - centre + width / 2) / width * 255, 0, 255).astype(np.uint8)
    return Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")


def draw_state(state: Dataset, images: Mapping[str, Dataset]) -> Image.Image:
    """The image of the longest outline, with window, outlines and texts of the state (PS3.3 C.10.5)."""
    annotations = state.GraphicAnnotationSequence
    longest = max(annotations, key=lambda each: max(len(g.GraphicData) for g in each.GraphicObjectSequence))
    uid = longest.ReferencedImageSequence[0].ReferencedSOPInstanceUID
    window = state.SoftcopyVOILUTSequence[0]
    picture = shown(images[uid], centre=float(window.WindowCenter), width=float(window.WindowWidth))
    pen, scale = ImageDraw.Draw(picture), SIDE / images[uid].Columns
    for annotation in annotations:
        if uid not in {reference.ReferencedSOPInstanceUID for reference in annotation.ReferencedImageSequence}:
            continue
        for graphic in annotation.get("GraphicObjectSequence", []):
            points = (np.reshape(graphic.GraphicData, (-1, 2)) - 0.5) * scale
            pen.line([tuple(point) for point in points], fill=(255, 220, 0), width=2)
        for text in annotation.get("TextObjectSequence", []):
            corner = text.get("BoundingBoxTopLeftHandCorner") or text.AnchorPoint
            place = tuple((np.asarray(corner, float) - 0.5) * scale)
            pen.text(place, text.UnformattedTextValue, fill=(255, 220, 0), font=ImageFont.load_default(size=15))
    return picture


def draw_seg(path: Path, images: Mapping[str, Dataset]) -> Image.Image:
    """The slice on which the segments have most voxels, each in the colour that it recommends."""
    seg = hd.seg.segread(path)
    frames = seg.get_pixels_by_source_instance(
        list(images), ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    index = int((frames > 0).sum(axis=(1, 2, 3)).argmax())
    picture = np.array(shown(images[list(images)[index]], centre=-600, width=1500))
    for number in range(frames.shape[-1]):
        mask = Image.fromarray(frames[index, ..., number].astype(bool)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        colour = hd.color.CIELabColor.from_dicom_value(seg.SegmentSequence[number].RecommendedDisplayCIELabValue)
        picture[np.array(mask)] = picture[np.array(mask)] // 2 + np.array(colour.to_rgb(), np.uint8) // 2
    return Image.fromarray(picture)


def run(*command: str | Path) -> str:
    """The output of a command that must succeed."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603


def main() -> None:
    """Analyse the first real CT and draw what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/pictures"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    study = next(one for one in demo_studies(cache=Path("build/demo"), console=CONSOLE) if one.reference)
    with tempfile.TemporaryDirectory() as folder:
        command = [Path(sys.executable).with_name("vigie"), "process", study.paths[0].parent, "--output", folder]
        outputs = json.loads(run(*command, "--fallback", "all", "--json"))["studies"][0]["results"][0]["outputs"]
        paths = {output["modality"]: Path(output["path"]) for output in reversed(outputs)}
        images = {image.SOPInstanceUID: image for image in map(dcmread, study.paths)}
        draw_state(dcmread(paths["PR"]), images).save(options.output / "gsps.png")
        draw_seg(paths["SEG"], images).save(options.output / "seg.png")
        run("dcm2pnm", "--write-png", paths["OT"], options.output / "sc.png")
    CONSOLE.print(f"{options.output}: gsps.png, seg.png, sc.png")


if __name__ == "__main__":
    main()
