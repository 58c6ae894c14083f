"""Which answered studies may be shown to learners, by the headers of the series that they would see."""

from collections import Counter
from collections.abc import Sequence

from pydicom import dcmread

from services.backends.files.facts import TAGS, facts_of
from services.backends.files.pixels import UNREADABLE
from services.backends.store.archive import StoredInstance
from services.backends.store.training import Case
from services.gateway.desk import Desk
from services.triage.training import MAY_BE_BURNED_IN, Candidate, ImageFacts, exclusion

LOOKS_PER_REQUEST = 40
"""So many studies are looked at for one page; the others when the next is asked for."""


def eligible(desk: Desk, candidates: Sequence[Candidate]) -> tuple[list[Candidate], Counter[str], int]:
    """Those that may be shown; how many may not, by the code of why; and how many were not looked at yet."""
    known = exclusions(desk, candidates)
    shown = [one for one in candidates if known.get(one.result_id) == ""]
    counts = Counter(known[one.result_id] for one in candidates if known.get(one.result_id))
    return shown, counts, sum(one.result_id not in known for one in candidates)


def exclusions(desk: Desk, ones: Sequence[Candidate | Case]) -> dict[str, str]:
    """By result id: the code of why its images are not shown, '' where they are. Not there: not looked at yet."""
    training = desk.store.training
    known = training.checked([one.result_id for one in ones])
    unknown = [one for one in ones if one.result_id not in known]
    looked = {one.result_id: _exclusion(desk, one) for one in unknown[:LOOKS_PER_REQUEST]}
    training.note_checked(looked)
    return known | looked


def _exclusion(desk: Desk, one: Candidate | Case) -> str:
    images = desk.store.archive.images_of(one.result_id)
    try:
        reason = exclusion([_facts(desk, each) for each in images]) if images else MAY_BE_BURNED_IN
    except (*UNREADABLE, OSError):
        reason = MAY_BE_BURNED_IN  # what cannot be read is not shown
    return reason.code if reason else ""


def _facts(desk: Desk, one: StoredInstance) -> ImageFacts:
    header = dcmread(desk.files.path(one.digest), force=True, stop_before_pixels=True, specific_tags=list(TAGS))
    return facts_of(header)
