"""The tables. A change here needs a revision in `migrations/versions`; a test finds the drift.

The study row is the lock of everything below it: whoever changes a study takes it first (`engine.locked`).
`board` is a projection of the rest, rebuilt for a study by `summary.refresh` in the same transaction.
"""

from services.backends.store.tables.access import caller_refusal, ended_session, kept_secret, provider_name, signed_in
from services.backends.store.tables.asking import announcement, inquiry, reconciliation
from services.backends.store.tables.audit import audit_feed, audit_pruned, audit_record
from services.backends.store.tables.base import compatibility, metadata
from services.backends.store.tables.models import model_off, model_rollout, model_switch, recall_campaign
from services.backends.store.tables.observing import observation, observing, result_traits
from services.backends.store.tables.promises import archive_inquiry, commitment_request, requested_instance
from services.backends.store.tables.reading import (
    assignment,
    blind_hold,
    saved_view,
    verdict,
    verdict_document,
    verdict_document_owed,
)
from services.backends.store.tables.results import job, recall, result, result_object, shadow_run, workitem
from services.backends.store.tables.sending import commitment, delivery
from services.backends.store.tables.studies import (
    adt_count,
    board,
    event,
    instance,
    patient,
    study,
    study_patient,
    study_version,
)
from services.backends.store.tables.training import training_case, training_check, training_round
from services.backends.store.tables.upkeep import deletion, lost_file, retention, scrub

__all__ = [
    "adt_count",
    "announcement",
    "archive_inquiry",
    "assignment",
    "audit_feed",
    "audit_pruned",
    "audit_record",
    "blind_hold",
    "board",
    "caller_refusal",
    "commitment",
    "commitment_request",
    "compatibility",
    "deletion",
    "delivery",
    "ended_session",
    "event",
    "inquiry",
    "instance",
    "job",
    "kept_secret",
    "lost_file",
    "metadata",
    "model_off",
    "model_rollout",
    "model_switch",
    "observation",
    "observing",
    "patient",
    "provider_name",
    "recall",
    "recall_campaign",
    "reconciliation",
    "requested_instance",
    "result",
    "result_object",
    "result_traits",
    "retention",
    "saved_view",
    "scrub",
    "shadow_run",
    "signed_in",
    "study",
    "study_patient",
    "study_version",
    "training_case",
    "training_check",
    "training_round",
    "verdict",
    "verdict_document",
    "verdict_document_owed",
    "workitem",
]
