"""Training at /training: answered studies again, blinded, without patient identity, for learners."""

from services.gateway.training.archive import training_dicomweb
from services.gateway.training.pages import router

__all__ = ["router", "training_dicomweb"]
