"""When a study is complete, and which late instance opens a new version of it."""

from datetime import datetime, timedelta

from services.triage.study import InstanceHeader

OWN_MANUFACTURER = "Vigie"

# Only these modalities can be segmented; reports, key objects, presentation states, dose reports, secondary
# captures and segmentations (SR, KO, PR, DOC, SEG, REG, OT, ...) never open a version (PS3.3 C.7.3.1.1.1).
ROUTABLE_MODALITIES = frozenset({"CT", "MR", "PT", "NM", "CR", "DX", "MG", "US", "XA", "RF"})


def is_routable(header: InstanceHeader) -> bool:
    """Whether an instance is an image that routing may look at: pixels, an imaging modality, and not our own."""
    return (
        header.has_pixel_data
        and header.modality in ROUTABLE_MODALITIES
        and not header.manufacturer.startswith(OWN_MANUFACTURER)
    )


def is_quiet(last_instance_at: datetime, now: datetime, quiet_period: timedelta) -> bool:
    """Whether nothing arrived for the quiet period."""
    return now - last_instance_at >= quiet_period
