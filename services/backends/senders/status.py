"""What a storage status means for a delivery; C-STORE (PS3.7 annex C) and STOW-RS (PS3.18 10.5.3) share the codes."""

from services.triage.errors import DestinationRefused, DestinationUnavailable

# Warnings beside 0xBxxx; and 'duplicate SOP instance': the UID is given once, so the peer has these very bytes from an
# earlier try whose answer was lost.
_STORED = frozenset({0x0000, 0x0001, 0x0107, 0x0111, 0x0116})
# Processing failure and resource limitation may pass, as 0xA7xx (PS3.4 B.2.3).
_PASSING = frozenset({0x0110, 0x0213})


def judge(status: int, peer: str, sop_class_uid: str) -> None:
    """Return if the peer has the object. Raises DestinationUnavailable (not now), DestinationRefused (never)."""
    if status in _STORED or status >> 12 == 0xB:
        return
    if status >> 8 == 0xA7 or status in _PASSING:
        raise DestinationUnavailable(f"{peer} answered status 0x{status:04X}: it cannot store now")
    raise DestinationRefused("store_refused", f"{peer} answered status 0x{status:04X} to SOP class {sop_class_uid}")


def all_of(refusals: list[DestinationRefused], *, of: int) -> DestinationRefused:
    """Several refusals as one; `of`: how many objects were offered."""
    text = "; ".join(refusal.reason.text for refusal in refusals)
    if taken := of - len(refusals):
        text = f"{text}; {taken} of {of} objects were taken"
    return DestinationRefused(refusals[0].reason.code, text)
