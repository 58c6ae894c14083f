"""A reader's verdicts as a DICOM document: docs/verdicts.md has its tree and its codes.

Written with pydicom alone: delivery, which writes it, has no report writers.
"""

from services.backends.verdict_report.document import write_verdicts
from services.backends.verdict_report.subject import Assessed, Reference, Subject, Verification

__all__ = ["Assessed", "Reference", "Subject", "Verification", "write_verdicts"]
