"""The colour of a lesion, the same wherever it is shown."""

from services.triage.lesion import Lesion

# Okabe and Ito's palette, told apart by colour-blind readers too; it repeats after the last.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))


def colour_of(lesion: Lesion) -> tuple[int, int, int]:
    """Red, green and blue, 0..255, by the lesion's number."""
    return COLOURS[(lesion.number - 1) % len(COLOURS)]
