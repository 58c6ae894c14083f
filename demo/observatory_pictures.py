"""The observatory of a simulated month as pictures: `make observatory-pictures` writes docs/pictures.

    .venv/bin/python -m demo.observatory_pictures [--output docs/pictures]

The month is simulated (`tests.support.histories`): women are served worse, a scanner is new, and from the middle on
more studies are flagged. The page is the real one, in a real Chromium.
"""

import argparse
import tempfile
from datetime import timedelta
from itertools import chain
from pathlib import Path

from tests.support.chromium import new_page
from tests.support.histories import START, World, simulate
from tests.support.serving import serving_app
from tests.support.stored_histories import keep_history
from tests.support.worklist import Ward

HALF = timedelta(days=15)


def main() -> None:
    """Simulate, serve, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/pictures"))
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as folder:
        ward = Ward(Path(folder), now=START + timedelta(days=30, hours=9))
        changed = World(weak_sex="F", new_device=0.2)
        records = chain(
            simulate(World(), days=90, start=START - timedelta(days=90), seed=1),
            simulate(changed, days=15, seed=2),
            simulate(World(weak_sex="F", new_device=0.2, flag_step=0.12), days=15, start=START + HALF, seed=3),
        )
        keep_history(f"sqlite:///{ward.folder / 'vigie.sqlite'}", records)
        with serving_app(ward.app()) as address, new_page(width=1300) as (page, _):
            page.goto(f"{address}/observatory")
            page.screenshot(path=output / "observatory.png", full_page=True)
            page.emulate_media(color_scheme="dark")
            page.goto(f"{address}/observatory?by=device")
            page.locator("section", has=page.locator("#groups")).screenshot(path=output / "observatory_groups.png")


if __name__ == "__main__":
    main()
