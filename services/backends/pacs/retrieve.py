"""Fetching series: C-MOVE to our own storage SCP, or C-GET on the association of the request (PS3.4 C.4.2, C.4.3)."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from services.backends.pacs.file import Pacs
from services.backends.senders.association import MAX_CONTEXTS, established
from services.backends.senders.link import Link
from services.triage.errors import DestinationRefused, DestinationUnavailable

PATIENCE_S = 600.0
"""A PACS need not answer while it sends, nor while it brings a study from its slow storage."""

RETRIEVE_REFUSED = "retrieve_refused"
"""A code: the PACS does not retrieve these series. It may lack the files of one study, or retrieve nothing at all."""

# Of a SOP class, one context for each: of several in one context the PACS would choose, and would have to transcode.
_SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.JPEGLosslessSV1,
    uid.JPEG2000Lossless,
    uid.JPEGLSLossless,
    uid.RLELossless,
    uid.JPEG2000,
    uid.JPEGBaseline8Bit,
    uid.JPEGLSNearLossless,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.HTJ2KLossless,
    uid.HTJ2K,
    uid.DeflatedExplicitVRLittleEndian,
)
# for a PACS that does not tell SOP classes
_IMAGES = (
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.EnhancedPETImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalMammographyXRayImageStorageForPresentation,
)
_SUCCESS, _PENDING, _SOME_FAILED, _MOVE_DESTINATION_UNKNOWN = 0x0000, 0xFF00, 0xB000, 0xA801

Store = Callable[[evt.Event], int | Dataset]
Stopped = Callable[[], bool]


def never() -> bool:
    """Fetch to the end."""
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrieved:
    """How many sub-operations, each a C-STORE to us, ended well and did not; completed: None where none are counted."""

    completed: int | None
    failed: int


def move(
    pacs: Pacs, study_instance_uid: str, series_instance_uids: Sequence[str], *, stopped: Stopped = never
) -> Retrieved:
    """Have the PACS send series to our AE title, which it must know. Raises as `get`."""
    model = StudyRootQueryRetrieveInformationModelMove
    with established(pacs.address, pacs.calling_ae_title, [build_context(model)], link=_patient(pacs)) as association:
        requests = (
            association.send_c_move(query, pacs.called_ae_title, model)
            for query in _queries(study_instance_uid, series_instance_uids)
        )
        return _to_the_end(requests, association, pacs, stopped)


def get(
    pacs: Pacs,
    study_instance_uid: str,
    series_instance_uids: Sequence[str],
    *,
    sop_class_uids: Collection[str],
    store: Store,
    stopped: Stopped = never,
) -> Retrieved:
    """Take series on the association of the request. Raises DestinationUnavailable, DestinationRefused.

    sop_class_uids: of their instances; of others the PACS sends nothing, and says that it failed. store: answers each
    C-STORE with its status. stopped: looked at between two; then the association is aborted, which is harmless.
    """
    model, classes = StudyRootQueryRetrieveInformationModelGet, sorted(sop_class_uids) or _IMAGES
    with established(
        pacs.address,
        pacs.calling_ae_title,
        [build_context(model), *_storage_contexts(classes)],
        link=_patient(pacs),
        handlers=[(evt.EVT_C_STORE, store)],
        roles=[build_role(each, scp_role=True) for each in classes],
    ) as association:
        requests = (
            association.send_c_get(query, model) for query in _queries(study_instance_uid, series_instance_uids)
        )
        return _to_the_end(requests, association, pacs, stopped)


def _storage_contexts(sop_class_uids: Sequence[str]) -> list[PresentationContext]:
    """As many transfer syntaxes of each class as there is room for beside the request's own context."""
    each = (MAX_CONTEXTS - 1) // len(sop_class_uids)
    return [build_context(sop_class, syntax) for sop_class in sop_class_uids for syntax in _SYNTAXES[:each]]


def _patient(pacs: Pacs) -> Link:
    return replace(pacs.link, answer_timeout_s=max(pacs.link.answer_timeout_s, PATIENCE_S))


def _queries(study_instance_uid: str, series_instance_uids: Sequence[str]) -> Iterator[Dataset]:
    for series_instance_uid in series_instance_uids:
        query = Dataset()
        query.QueryRetrieveLevel = "SERIES"
        query.StudyInstanceUID = study_instance_uid
        query.SeriesInstanceUID = series_instance_uid
        yield query


def _to_the_end(
    requests: Iterable[Iterator[tuple[Dataset, Dataset | None]]], association: Association, pacs: Pacs, stopped: Stopped
) -> Retrieved:
    """Make one request after the other, and add up what their last answers say."""
    completed: int | None = 0
    failed = 0
    for answers in requests:
        last = Dataset()
        try:
            for answer, _ in answers:
                last = answer
                if stopped():
                    association.abort()
                    raise DestinationUnavailable(f"fetching from {pacs.address} was stopped")
        except RuntimeError as error:
            raise DestinationUnavailable(f"{pacs.address} ended the association") from error
        _require_end(last.get("Status"), pacs)
        if completed is not None and "NumberOfCompletedSuboperations" in last:
            completed += last.NumberOfCompletedSuboperations + (last.get("NumberOfWarningSuboperations") or 0)
        else:
            completed = None
        failed += last.get("NumberOfFailedSuboperations") or last.Status == _SOME_FAILED
    return Retrieved(completed=completed, failed=failed)


def _require_end(status: int | None, pacs: Pacs) -> None:
    if status is None or status == _PENDING:
        text = f"{pacs.address} did not end a retrieval: it does not know our AE title, or the association was lost"
        raise DestinationUnavailable(text)
    if status == _MOVE_DESTINATION_UNKNOWN:
        text = (
            f"{pacs.address} does not know the AE title {pacs.called_ae_title}: enter it there, with our host and port"
        )
        raise DestinationRefused("move_destination_unknown", text)
    if status not in (_SUCCESS, _SOME_FAILED):
        raise DestinationRefused(RETRIEVE_REFUSED, f"{pacs.address} answered status 0x{status:04X} to a retrieval")
