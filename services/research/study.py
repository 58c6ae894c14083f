"""A study as an export has it: what the store knows of it, and the files."""

from collections.abc import Callable
from pathlib import Path

from services.backends.store import SqlStudyStore
from services.backends.store.archive import StoredInstance
from services.research.deidentify import Deidentifier
from services.research.export import Allowed, Exporter
from services.research.manifest import ExportedStudy, kept_back, result_of, verdicts_of
from services.research.pseudonyms import Pseudonyms
from services.research.recipe import Option, Recipe
from services.triage.study import StudyAttributes


def exported_study(
    store: SqlStudyStore,
    uid: str,
    folder: Path,
    key: bytes,
    recipe: Recipe,
    allowed: Allowed,
    path_of: Callable[[StoredInstance], Path],
) -> ExportedStudy:
    """Write what may leave of a study, and tell it. Raises StoreUnavailable, OSError."""
    detail = store.board.study(uid)
    row = detail.row if detail else None
    results = detail.results if detail else ()
    attributes = row.study if row else StudyAttributes(study_instance_uid=uid)
    pseudonyms = Pseudonyms.of(key, attributes, tenant=row.tenant if row else "", keep_uids=recipe.has(Option.UIDS))
    deidentifier = Deidentifier(pseudonyms=pseudonyms, recipe=recipe)
    exporter = Exporter(folder=folder, deidentifier=deidentifier, allowed=allowed, path_of=path_of)
    return ExportedStudy(
        subject=pseudonyms.subject,
        study_instance_uid=pseudonyms.uid(uid),
        series=tuple(exporter.study(store.archive.instances(uid))),
        results=tuple(result_of(each, pseudonyms) for each in results if not each.kept_back),
        kept_back=tuple(kept_back(each, pseudonyms) for each in results if each.kept_back),
        verdicts=verdicts_of(store.verdicts.of_study(uid), pseudonyms),
    )
