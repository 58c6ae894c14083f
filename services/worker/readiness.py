"""Whether a worker could bring a job to its end now. One that could not takes none: an outage must cost no attempts."""

from services.triage.errors import TransientError
from services.triage.ports import Segmenter, StudyFiles


def obstacle(segmenter: Segmenter, files: StudyFiles) -> TransientError | None:
    """What stands in the way of any job: the inference server is away, or there is no room for results."""
    try:
        segmenter.require_ready()
        files.require_room()
    except TransientError as error:
        return error
    return None
