"""DICOMweb out (PS3.18 section 10): QIDO-RS and WADO-RS over sources and results alike."""

from services.gateway.dicomweb.router import dicomweb_router

__all__ = ["dicomweb_router"]
