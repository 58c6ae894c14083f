"""The JSON of verdicts: what is asked of a reader, what they answer, and what stands."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.schemas import DeliveryOut, ModelOut
from services.triage.finding import Outcome
from services.triage.verdict import Answer, RejectReason, Verdict

_ROOT = "1.2.826.0.1.3680043.8.498"
_VERDICT_ID = "5d3a1f0c9b7e4d2a8c6f0e1b2d3c4a59"

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Uid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
Given = Literal[Answer.ACCEPT, Answer.REJECT, Answer.MODIFY, Answer.ADD, Answer.NOT_MY_QUESTION, Answer.UNDO]


class MarkedLesionIn(BaseModel):
    """A lesion as the reader has it. Sizes that a saved object tells are read from it, and hold over these."""

    model_config = ConfigDict(str_strip_whitespace=True, extra="forbid")

    finding: str = Field("", max_length=64, description="lesion, nodule, mass, cyst, lymph_node, metastasis, or words.")
    long_axis_mm: float | None = Field(None, gt=0, le=2000)
    volume_ml: float | None = Field(None, gt=0, le=100_000)
    object_sop_instance_uid: Uid | None = Field(None, description="The SEG or SR of this study that a viewer saved.")
    object_item: int | None = Field(None, ge=1, description="Which segment or measurement group of it; the only one.")
    image_sop_instance_uid: Uid | None = Field(None, description="A slice that shows it.")


class VerdictIn(BaseModel):
    """One answer. `verdict_id` is made by who asks, so that a request that is repeated is one verdict.

    Another answer under the same `verdict_id` is refused: whoever answers anew makes a new one.
    """

    model_config = ConfigDict(
        str_strip_whitespace=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "verdict_id": _VERDICT_ID,
                    "answer": "reject",
                    "result_id": "0f" * 16,
                    "tracking_uid": f"{_ROOT}.31",
                    "reason": "vessel",
                    "comment": "",
                    "page": "study",
                }
            ]
        },
    )

    verdict_id: Hex = Field(description="32 hexadecimal digits at random.")
    answer: Given
    result_id: Hex | None = Field(None, description="The result that is answered; null where there is none.")
    tracking_uid: Uid | None = Field(None, description="Of the lesion; null: of the study. Of an added one: null.")
    reason: RejectReason | None = Field(None, description="Of a rejection.")
    comment: str = Field("", max_length=500)
    lesion: MarkedLesionIn | None = Field(None, description="Of a modified or an added one.")
    undoes: Hex | None = Field(None, description="The verdict that is taken back.")
    page: Literal["list", "study", "viewer"] = Field("study", description="Where the reader answered.")


class MarkedLesionOut(BaseModel):
    """A lesion as the reader has it."""

    model_config = ConfigDict(from_attributes=True)

    finding: str
    long_axis_mm: float | None
    volume_ml: float | None
    object_sop_instance_uid: str | None
    image_sop_instance_uid: str | None


class VerdictOut(BaseModel):
    """One answer as it was given. It is never changed; `stands` says whether it holds now."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "verdict_id": _VERDICT_ID,
                    "study_instance_uid": f"{_ROOT}.1",
                    "result_id": "0f" * 16,
                    "tracking_uid": f"{_ROOT}.31",
                    "answer": "reject",
                    "reason": "vessel",
                    "comment": "",
                    "lesion": None,
                    "reader": "Dr Example",
                    "given_at": "2026-03-02T09:00:00Z",
                    "undoes": None,
                    "stands": True,
                    "mine": True,
                }
            ]
        },
    )

    verdict_id: str
    study_instance_uid: str
    result_id: str | None
    tracking_uid: str | None
    answer: Answer
    reason: RejectReason | None
    comment: str
    lesion: MarkedLesionOut | None
    reader: str
    given_at: datetime
    undoes: str | None
    stands: bool = Field(description="Neither undone, nor followed by another of the same reader to the same question.")
    mine: bool = Field(description="Of who asks.")

    @classmethod
    def of(cls, verdict: Verdict, *, stands: bool, mine: bool) -> "VerdictOut":
        """A verdict, for who asks."""
        names = cls.model_fields.keys() - {"stands", "mine", "lesion"}
        told = {name: getattr(verdict, name) for name in names}
        lesion = MarkedLesionOut.model_validate(verdict.lesion) if verdict.lesion else None
        return cls(**told, lesion=lesion, stands=stands, mine=mine)


class AskedLesionOut(BaseModel):
    """A lesion that can be answered to; number: its segment in the SEG."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    tracking_uid: str
    label: str
    score: float
    long_axis_mm: float
    volume_ml: float


class QuestionOut(BaseModel):
    """A result that can be answered to: the newest of its model, and not recalled."""

    model_config = ConfigDict(from_attributes=True)

    result_id: str
    model: ModelOut
    outcome: Outcome
    series_instance_uid: str | None
    seg_series_instance_uid: str | None
    newer_images: bool = Field(
        description="Images came that it is not of: an answer for the study is kept, and does not mark it as read."
    )
    lesions: list[AskedLesionOut]


class VerdictDocumentOut(BaseModel):
    """A reader's verdicts as a DICOM document; its bytes are at /api/results/{sop_instance_uid}."""

    sop_instance_uid: str
    series_instance_uid: str
    reader: str
    written_at: datetime
    verified: bool
    deliveries: list[DeliveryOut]


class VerdictsOut(BaseModel):
    """What is asked, everything that was answered (oldest first), and the documents of it."""

    study_instance_uid: str
    reader: str = Field(description="Who asks, as it stands in verdicts.")
    questions: list[QuestionOut]
    verdicts: list[VerdictOut]
    documents: list[VerdictDocumentOut]


class MarkOut(BaseModel):
    """One thing that was drawn: a measurement group of an SR, a segment of a SEG."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    label: str
    long_axis_mm: float | None
    volume_ml: float | None
    image_sop_instance_uid: str | None


class EvidenceOut(BaseModel):
    """A SEG or SR of the study that a viewer saved. refused: why it cannot be used; null: it can."""

    sop_instance_uid: str
    modality: str
    marks: list[MarkOut]
    refused: str | None = None


class EvidenceListOut(BaseModel):
    """What can be evidence for a verdict, by its Series and Instance Number."""

    objects: list[EvidenceOut]


class FinishedOut(BaseModel):
    """owed: the reader's verdicts become a document now; false: they are in one already."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"owed": True}]})

    owed: bool


def told(verdicts: Iterable[Verdict], stands: Iterable[Verdict], *, reader: str) -> list[VerdictOut]:
    """All verdicts of a study, for a reader."""
    holds = {one.verdict_id for one in stands}
    return [VerdictOut.of(one, stands=one.verdict_id in holds, mine=one.reader == reader) for one in verdicts]
