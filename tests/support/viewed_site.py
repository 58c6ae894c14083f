"""A running service with one chest CT of three bright balls, for a real browser to look at."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from services.backends.senders import CStoreSender
from services.triage.job import JobState
from tests.support.ct import ct_series, write_series
from tests.support.house import House
from tests.support.peers import listens, wait_until
from tests.support.standalone import Running, standalone

SHAPE, SPACING_MM = (40, 96, 96), np.array((2.5, 2.0, 2.0))
ORIGIN_MM = (-100.0, -120.0, 40.0)
BALLS = {1: (8, 30, 30), 2: (20, 60, 40), 3: (31, 40, 66)}
RADIUS_MM = 11.0


def chest(*, seed: int = 7) -> npt.NDArray[np.float64]:
    """[slice, row, column] in HU: a texture that differs from slice to slice, with three bright balls."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), (0.6, 4, 4))
    voxels = np.clip(-600 + noise / noise.std() * 150, -1000, -200)
    place = np.indices(SHAPE)
    for centre in BALLS.values():
        offset = (place - np.reshape(centre, (3, 1, 1, 1))) * SPACING_MM.reshape(3, 1, 1, 1)
        voxels[(offset**2).sum(axis=0) < RADIUS_MM**2] = 60
    return voxels


@dataclass
class Site:
    """A service that runs, and what it keeps."""

    vigie: Running
    house: House
    study: str
    voxels: npt.NDArray[np.float64]

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.vigie.http_port}"


@contextmanager
def viewed_site(folder: Path, **settings: object) -> Iterator[Site]:
    """Vigie on a study with lesions, analysed. folder: of all that it keeps."""
    voxels = chest()
    series = ct_series(voxels, spacing_mm=tuple(SPACING_MM), origin_mm=ORIGIN_MM)
    with standalone(folder / "data", fake_segmenter_s=0, **settings) as vigie:
        paths = write_series(series, folder / "study")
        files = [(each.SOPClassUID, each.SOPInstanceUID, path) for each, path in zip(series, paths, strict=True)]
        CStoreSender(vigie.address, "CT1").send(files)
        uid = series[0].StudyInstanceUID
        house = House(data=folder / "data")
        found = Site(vigie=vigie, house=house, study=uid, voxels=voxels)
        wait_until(lambda: {job.state for job in house.jobs(uid)} == {JobState.FROZEN}, what="the result")
        wait_until(lambda: listens(vigie.http_port))
        yield found
