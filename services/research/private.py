"""Private attributes that may stay (PS3.15 table E.3.10-1), of that table only such as hold numbers."""

from pydicom import DataElement, Dataset

from services.research.forms import NUMBERS, is_well_formed

# Private creator -> group and element (the last byte) of each.
_SAFE: dict[str, frozenset[tuple[int, int]]] = {
    "Philips PET Private Group": frozenset({(0x7053, 0x00), (0x7053, 0x09)}),  # SUV and activity scale factors
    "Philips Imaging DD 001": frozenset({(0x2001, 0x03)}),  # diffusion b factor
    "Philips MR Imaging DD 001": frozenset({(0x2005, 0x0D), (0x2005, 0x0E)}),  # scale intercept and slope
    "SIEMENS MR HEADER": frozenset({(0x0019, 0x0C), (0x0019, 0x0E), (0x0019, 0x27)}),  # b value, direction, matrix
    "GEMS_ACQU_01": frozenset({(0x0019, 0x23), (0x0019, 0x24), (0x0019, 0x27)}),  # table speed, mid scan, rotation
    "GEMS_PARM_01": frozenset({(0x0043, 0x27)}),  # scan pitch ratio
    "GEMS_HELIOS_01": frozenset({(0x0045, 0x01), (0x0045, 0x02)}),  # detector rows, their width
    "ELSCINT1": frozenset({(0x00E1, 0x21), (0x01E1, 0x50), (0x01F1, 0x07), (0x01F1, 0x26), (0x01F1, 0x27)}),
}


def safe_creators(dataset: Dataset) -> dict[tuple[int, int], str]:
    """Of the private blocks in a data set: (group, block) -> creator, of those that have something safe."""
    found = {}
    for tag in dataset.keys():  # noqa: SIM118 - a Dataset iterates over elements
        if tag.is_private_creator:
            creator = str(dataset[tag].value).strip()
            if creator in _SAFE:
                found[tag.group, tag.element] = creator
    return found


def is_safe(element: DataElement, creators: dict[tuple[int, int], str]) -> bool:
    """Whether a private element may stay."""
    tag = element.tag
    creator = creators.get((tag.group, tag.element >> 8))
    if creator is None or (tag.group, tag.element & 0xFF) not in _SAFE[creator]:
        return False
    return element.VR in NUMBERS and is_well_formed(element)


def creators_needed(kept: Dataset, creators: dict[tuple[int, int], str]) -> dict[tuple[int, int], str]:
    """The creators of what was kept; the others need not be told."""
    used = {(tag.group, tag.element >> 8) for tag in kept.keys() if tag.is_private}  # noqa: SIM118
    return {block: creator for block, creator in creators.items() if block in used}
