"""The answer where images were kept, and are no longer."""

from services.gateway.problems import ProblemError


def images_gone() -> ProblemError:
    """410: retention has deleted them; their results are kept."""
    return ProblemError(
        410,
        "images_not_kept",
        "Images no longer kept here",
        detail="Vigie keeps images for a while only; those that the path names have been deleted. Results are kept.",
        way_out="Retrieve the study from the PACS. Sent here again, it can be seen and analysed here again.",
    )
