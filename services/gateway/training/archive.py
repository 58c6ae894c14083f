"""DICOMweb of training, below /training/dicomweb: the cases of who asks, each instance without patient identity.

It is the DICOMweb of everybody, on a desk whose archive and files are a learner's: other UIDs, the analysed series
alone, and the AI's segmentation only once the case is answered.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import BinaryIO, cast

from fastapi import APIRouter, Depends
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

from services.backends.files.pixels import UNREADABLE
from services.backends.store import SqlStudyStore
from services.backends.store.archive import StoredInstance, StoredStudy, StudyFilter
from services.backends.store.training import Case
from services.gateway.desk import Desk, TheDesk
from services.gateway.dicomweb import dicomweb_router
from services.gateway.dicomweb.stored import StoredFile, undecodable
from services.gateway.people import ThePerson, only
from services.gateway.training.deidentify import NAME, deidentified
from services.triage.study import StudyAttributes
from services.triage.training import pseudonym

ROOT = "/training/dicomweb"


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseInstance(StoredInstance):
    """An instance of a case under its other UIDs. key: of the round."""

    key: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseFile(StoredFile):
    """Its file, without patient identity. Nothing of it is written to disk."""

    def chunks(self) -> Iterator[bytes]:
        """As it is stored, so far as it is shown."""
        with self.open() as file:
            yield file.read()

    def open(self) -> BinaryIO:
        """See `StoredFile.open`; in memory."""
        with self._kept.open() as file:
            return self._shown(file)

    def explicit_little_endian(self) -> BytesIO:
        """See `StoredFile.explicit_little_endian`."""
        with self._kept.explicit_little_endian() as file:
            return self._shown(file)

    @property
    def _kept(self) -> StoredFile:
        """As it was received."""
        return StoredFile(instance=self.instance, path=self.path)

    def _shown(self, file: BinaryIO) -> BytesIO:
        try:
            read = dcmread(file, force=True)
            if read.get("BurnedInAnnotation") == "YES":
                raise undecodable()
            shown = deidentified(read, key=cast(CaseInstance, self.instance).key)
            return _part_10(shown, read)
        except UNREADABLE as error:
            raise undecodable() from error


class CaseArchive:
    """What `services.backends.store.archive.Archive` answers, of the cases of one learner."""

    def __init__(self, store: SqlStudyStore, learner: str) -> None:
        self._store = store
        self._learner = learner

    def studies(self, narrowed: StudyFilter, *, limit: int, offset: int) -> list[StoredStudy]:
        """Those of the filter's studies that are cases of the learner; without such a filter, none."""
        cases = (self._store.training.case(self._learner, uid) for uid in narrowed.study_instance_uids)
        return [self._study(one) for one in cases if one is not None][offset : offset + limit]

    def instances(
        self, study_instance_uid: str, series_instance_uid: str | None = None, sop_instance_uid: str | None = None
    ) -> list[StoredInstance]:
        """Of a case, a series of it, or one: the series that was analysed, and what the AI drew once it is answered."""
        case = self._store.training.case(self._learner, study_instance_uid)
        if case is None:
            return []
        return [
            one
            for one in self._of(case)
            if series_instance_uid in (None, one.series_instance_uid)
            and sop_instance_uid in (None, one.sop_instance_uid)
        ]

    def gone(
        self, study_instance_uid: str, series_instance_uid: str | None = None, _sop_instance_uid: str | None = None
    ) -> bool:
        """Whether some images of a case are not kept here any more."""
        case = self._store.training.case(self._learner, study_instance_uid)
        if case is None or series_instance_uid not in (None, pseudonym(case.series_instance_uid, key=case.key)):
            return False
        return self._store.archive.gone(case.study_instance_uid, case.series_instance_uid)

    def _of(self, case: Case) -> list[StoredInstance]:
        # the round may be older than the rules; what nobody has looked at by them yet, the case's page looks at
        if self._store.training.checked([case.result_id]).get(case.result_id) != "":
            return []
        return [_renamed(one, case) for one in (*self._store.archive.images_of(case.result_id), *self._drawn(case))]

    def _drawn(self, case: Case) -> list[StoredInstance]:
        if case.answer is None or not case.stands:
            return []
        drawn = self._store.board.objects_of(case.result_id)
        kept = self._store.archive.instances(case.study_instance_uid)
        return [one for one in kept if one.is_result and one.modality == "SEG" and one.sop_instance_uid in drawn]

    def _study(self, case: Case) -> StoredStudy:
        instances = self._of(case)
        return StoredStudy(
            attributes=StudyAttributes(study_instance_uid=case.name, patient_name=NAME),
            modalities=tuple(sorted({one.modality for one in instances})),
            series_count=len({one.series_instance_uid for one in instances}),
            instance_count=len(instances),
        )


class _Store:
    """What DICOMweb uses of a store."""

    def __init__(self, archive: CaseArchive) -> None:
        self.archive = archive

    def tenant(self, _study_instance_uid: str) -> None:
        """None: a case is of no hospital."""


def training_desk(desk: TheDesk, person: ThePerson) -> Desk:
    """The desk on which DICOMweb serves the cases of who asks."""
    store = cast(SqlStudyStore, _Store(CaseArchive(desk.store, person.name)))
    return replace(desk, store=store, stored_as=CaseFile)


def training_dicomweb() -> APIRouter:
    """Its routes."""
    router = APIRouter(dependencies=[Depends(only(lambda who: who.learns))], include_in_schema=False)
    router.include_router(dicomweb_router(training_desk), prefix=ROOT)
    return router


def _renamed(one: StoredInstance, case: Case) -> CaseInstance:
    study, series, instance = (
        case.name,
        *(pseudonym(uid, key=case.key) for uid in (one.series_instance_uid, one.sop_instance_uid)),
    )
    header = one.header and replace(
        one.header,
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
        series_description="",
        protocol_name="",
    )
    return CaseInstance(
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
        sop_class_uid=one.sop_class_uid,
        transfer_syntax_uid=one.transfer_syntax_uid,
        modality=one.modality,
        digest=one.digest,
        is_result=one.is_result,
        header=header,
        key=case.key,
    )


def _part_10(shown: Dataset, read: Dataset) -> BytesIO:
    """A file of it, in the transfer syntax that it was read in."""
    syntax = read.file_meta.TransferSyntaxUID or ExplicitVRLittleEndian
    shown.file_meta = type(read.file_meta)()
    shown.file_meta.TransferSyntaxUID = syntax
    shown.file_meta.MediaStorageSOPClassUID = shown.SOPClassUID
    shown.file_meta.MediaStorageSOPInstanceUID = shown.SOPInstanceUID
    content = BytesIO()
    dcmwrite(content, shown, enforce_file_format=True)
    content.seek(0)
    return content
