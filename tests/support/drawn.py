"""What the viewer has really drawn, read back from its canvas and compared with the volume."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from playwright.sync_api import Frame, Page

from tests.support.viewed_site import ORIGIN_MM, SHAPE, SPACING_MM


@dataclass
class Drawn:
    """What the viewport shows: colours at points of the canvas, and the voxels (row, column) that lie there.

    said_slice: where the viewer says that it is.
    """

    said_slice: int
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]
    rgb: npt.NDArray[np.float64]

    @property
    def is_coloured(self) -> npt.NDArray[np.bool_]:
        return self.rgb.max(axis=1) - self.rgb.min(axis=1) > 25

    def slice_by_its_pixels(self, voxels: npt.NDArray[np.float64]) -> tuple[int, float]:
        """The slice whose voxels are most like the grey that is drawn, and how like they are (correlation)."""
        grey = self.rgb.mean(axis=1)[~self.is_coloured]
        like = [
            np.corrcoef(grey, one[self.rows, self.columns][~self.is_coloured])[0, 1]
            for one in np.clip(voxels, -1250, 250)
        ]
        return int(np.argmax(like)), float(np.max(like))


READ = """() => {
    const {viewportGridService, cornerstoneViewportService} = window.services;
    const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
    const canvas = viewport.getCanvas(), context = canvas.getContext('2d'), points = [];
    for (let y = 0.12; y < 0.72; y += 0.012)
        for (let x = 0.12; x < 0.72; x += 0.012) {
            const at = [Math.round(x * canvas.width), Math.round(y * canvas.height)];
            const rgb = context.getImageData(...at, 1, 1).data.slice(0, 3);
            points.push([...viewport.canvasToWorld(at.map(one => one / devicePixelRatio)), ...rgb]);
        }
    return points;
}"""


def drawn(page: Page | Frame) -> Drawn:
    points = np.asarray(page.evaluate(READ), float)
    columns, rows = np.rint((points[:, :2] - ORIGIN_MM[:2]) / SPACING_MM[:0:-1]).astype(int).T
    said = round((points[0, 2] - ORIGIN_MM[2]) / SPACING_MM[0])
    inside = (rows >= 0) & (rows < SHAPE[1]) & (columns >= 0) & (columns < SHAPE[2])
    return Drawn(said_slice=said, rows=rows[inside], columns=columns[inside], rgb=points[inside, 3:])


def settled(page: Page | Frame) -> Drawn:
    """What is drawn once nothing moves any more."""
    before, now = None, drawn(page)
    while before is None or not np.array_equal(before.rgb, now.rgb):
        page.wait_for_timeout(400)
        before, now = now, drawn(page)
    return now
