"""What changed in a file that is read again while we run."""

from services.backends.people_file import Accounts
from services.gateway.audit.recorder import Recorder
from services.triage.audit import AuditActor, AuditObject, AuditObjectKind
from services.triage.audit_types import AuditType, audited


def file_changed(recorder: Recorder, before: Accounts, after: Accounts) -> None:
    """Who may use the desk is another; keys are not told, only that one is new."""
    changed = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    told = {
        "added": " ".join(sorted(after.keys() - before.keys())),
        "removed": " ".join(sorted(before.keys() - after.keys())),
        "changed": " ".join(changed),
        "accounts": str(len(after)),
    }
    told = {name: value for name, value in told.items() if value}
    what = AuditObject(kind=AuditObjectKind.FILE, object_id="people", details=told)
    event = audited(AuditType.CONFIGURATION_CHANGED, AuditActor(name="desk"), objects=(what,))
    # several desks read the same change at about the same time
    hashes = [after[name].key_hash for name in sorted(after)]
    recorder.once(event, *told.values(), *hashes)
