"""One study for research: its images, results and readers' documents, each without identity, in folders."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from services.backends.files.facts import TAGS
from services.backends.files.pixels import UNREADABLE
from services.backends.store.archive import StoredInstance
from services.research.deidentify import Deidentifier
from services.research.risks import DRAWS_NAMES, NAMED_ONLY, risks_of
from services.triage.errors import Reason

UNREADABLE_FILE = Reason(code="unreadable", text="a file cannot be read")
NO_IMAGE = Reason(code="no_image", text="a document or object of others: only images and what Vigie wrote are exported")
A_PICTURE = Reason(code="a_picture", text="a picture of a result, for viewers without SEG")
FACE_LEFT_OUT = Reason(code="face_left_out", text="a face may be made of the images")

_OWN_MODALITIES = frozenset({"SEG", "SR", "PR"})
_IMAGES = frozenset({"CT", "MR", "PT", "NM", "CR", "DX", "MG", "IO", "PX", "SM"}) | DRAWS_NAMES


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """What may leave although it is at risk.

    modalities: asked for by name. burned_in: also where text is burned in, or the header does not say, but no modality
    that must be named. faces: of which a face may be made.
    """

    modalities: frozenset[str] = frozenset()
    burned_in: bool = False
    faces: bool = True


@dataclass(frozen=True, kw_only=True)
class ExportedSeries:
    """A series, under its new UID. risks: what its pixels may tell. left_out: why nothing of it is in the export."""

    series_instance_uid: str
    modality: str
    instances: int
    body_part: str = ""
    risks: tuple[Reason, ...] = ()
    left_out: Reason | None = None
    unreadable: int = 0


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """Writes studies of one patient. path_of: the file of a stored instance."""

    folder: Path
    deidentifier: Deidentifier
    allowed: Allowed
    path_of: Callable[[StoredInstance], Path]

    def study(self, instances: Sequence[StoredInstance]) -> list[ExportedSeries]:
        """Write what may leave of a study. Raises OSError (the output cannot be written)."""
        series: dict[str, list[StoredInstance]] = {}
        for one in instances:
            series.setdefault(one.series_instance_uid, []).append(one)
        return [self._series(uid, members) for uid, members in series.items()]

    def _series(self, uid: str, members: Sequence[StoredInstance]) -> ExportedSeries:
        told = ExportedSeries(
            series_instance_uid=self.deidentifier.pseudonyms.uid(uid), modality=members[0].modality, instances=0
        )
        if members[0].is_result:
            if told.modality not in _OWN_MODALITIES:
                return replace(told, left_out=A_PICTURE)
        elif told.modality not in _IMAGES:
            return replace(told, left_out=NO_IMAGE)
        else:
            told = self._looked_at(told, members)
        if told.left_out is not None:
            return told
        written = [self._write(one) for one in members]
        return replace(told, instances=sum(written), unreadable=told.unreadable + written.count(False))

    def _looked_at(self, told: ExportedSeries, members: Sequence[StoredInstance]) -> ExportedSeries:
        """With its risks, and whether it may leave."""
        headers = list(self._headers(members))
        if not headers:
            return replace(told, left_out=UNREADABLE_FILE, unreadable=len(members))
        try:
            risks = risks_of(headers, named=self.allowed.modalities)
        except (*UNREADABLE, OSError):  # what tells no risks does not leave, though it may be written
            return replace(told, left_out=UNREADABLE_FILE, unreadable=len(members))
        body_part = next((str(one.BodyPartExamined) for one in headers if one.get("BodyPartExamined")), "")
        left_out = risks.text
        if left_out is not None and self.allowed.burned_in and left_out.code != NAMED_ONLY.code:
            left_out = None
        if left_out is None and risks.face is not None and not self.allowed.faces:
            left_out = FACE_LEFT_OUT
        both = tuple(one for one in (risks.text, risks.face) if one is not None)
        return replace(told, risks=both, left_out=left_out, body_part=body_part)

    def _headers(self, members: Sequence[StoredInstance]) -> Iterator[Dataset]:
        """Of those that can be read; the others cannot be written either."""
        for one in members:
            try:
                header = dcmread(self.path_of(one), force=True, stop_before_pixels=True, specific_tags=list(TAGS))
            except (*UNREADABLE, OSError):
                continue
            if "SOPClassUID" in header:
                yield header

    def _write(self, one: StoredInstance) -> bool:
        """Whether it could be read, and lies in the folder now."""
        try:
            read = dcmread(self.path_of(one), force=True)
            shown = self.deidentifier.apply(read, own=one.is_result)
            uids = [str(shown[name].value) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
        except (*UNREADABLE, OSError):  # pydicom raises OSError where a sequence ends too early
            return False
        path = self.folder.joinpath(self.deidentifier.pseudonyms.subject, *uids[:2], f"{uids[2]}.dcm")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_part_10(shown, path, like=read)
        except UNREADABLE:  # an element that is parsed when it is written, if at all
            path.unlink(missing_ok=True)
            return False
        return True


def _write_part_10(shown: Dataset, path: Path, *, like: Dataset) -> None:
    """A file with an empty preamble and File Meta Information of ours, in the transfer syntax that it was read in."""
    shown.file_meta = FileMetaDataset()
    shown.file_meta.TransferSyntaxUID = like.file_meta.get("TransferSyntaxUID") or ExplicitVRLittleEndian
    shown.file_meta.MediaStorageSOPClassUID = shown.SOPClassUID
    shown.file_meta.MediaStorageSOPInstanceUID = shown.SOPInstanceUID
    dcmwrite(path, shown, enforce_file_format=True)
