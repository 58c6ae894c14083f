"""The ports: what the pipeline needs of the world. Each has an embedded and a production implementation.

One contract suite per port (tests/contracts) runs over every implementation, over real connections.
"""

from services.triage.ports.audit_trail import AuditTrail
from services.triage.ports.deliveries import DeliveryLine, DueCommitment, DueDelivery
from services.triage.ports.destinations import Notifier, PacsQuestions, ResultSender
from services.triage.ports.job_queue import DeadLetter, JobQueue, QueueDepth, ReceivedMessage
from services.triage.ports.segmenter import Segmenter
from services.triage.ports.shadow_runs import ShadowRuns
from services.triage.ports.storage_commitment import CommitmentReporter, CommitmentRequests, CommitmentUser
from services.triage.ports.study_files import Deleted, KeptFile, StudyFiles
from services.triage.ports.study_store import Arrival, Reconciled, Recorded, StudyStore

__all__ = [
    "Arrival",
    "AuditTrail",
    "CommitmentReporter",
    "CommitmentRequests",
    "CommitmentUser",
    "DeadLetter",
    "Deleted",
    "DeliveryLine",
    "DueCommitment",
    "DueDelivery",
    "JobQueue",
    "KeptFile",
    "Notifier",
    "PacsQuestions",
    "QueueDepth",
    "ReceivedMessage",
    "Reconciled",
    "Recorded",
    "ResultSender",
    "Segmenter",
    "ShadowRuns",
    "StudyFiles",
    "StudyStore",
]
