"""A finished object of a result as the bytes that will be kept, sent and never changed."""

from io import BytesIO

from pydicom import Dataset

from services.triage.result import ObjectKind, ResultObject


def freeze(data_set: Dataset, *, names: ObjectKind | None = None) -> ResultObject:
    """The Part 10 file (PS3.10) of a data set that has its transfer syntax; `names`: see ResultObject."""
    content = BytesIO()
    data_set.save_as(content, enforce_file_format=True)
    return ResultObject(
        modality=data_set.Modality,
        sop_class_uid=data_set.SOPClassUID,
        sop_instance_uid=data_set.SOPInstanceUID,
        series_instance_uid=data_set.SeriesInstanceUID,
        content=content.getvalue(),
        names=names,
    )
