"""DICOM results: Segmentation and structured report, frozen as bytes."""

from services.worker.report.reidentify import reidentify
from services.worker.report.write import write_report

__all__ = ["reidentify", "write_report"]
