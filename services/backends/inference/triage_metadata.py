"""The `triage` section of a bundle's metadata, which says what its classes mean and where its thresholds lie."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from services.backends.inference.bundle_files import METADATA, TRIAGE, whole_metadata
from services.backends.inference.expects import Expects
from services.triage.calibration import LEAST_STUDIES, Calibration, Isotonic, Temperature
from services.triage.errors import ModelRefused
from services.triage.model import ClassKind, Code, Model, ModelClass, ModelIdentity, ModelInput, Thresholds


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)  # what is misspelt would go unheard


class _Code(_Told):
    value: str
    scheme: str
    meaning: str


class _Class(_Told):
    name: str
    kind: ClassKind
    category: _Code | None = None
    type: _Code | None = None
    channels: tuple[int, ...] = ()


class _Input(_Told):
    name: str
    modality: str | None = None
    patterns: tuple[re.Pattern[str], ...] = ()


class _Thresholds(_Told):
    equivocal_low: float
    detect: float
    elevated: float
    urgent: float


class _Isotonic(_Told):
    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    studies: int = Field(ge=1)


class _Temperature(_Told):
    temperature: float
    studies: int = Field(ge=1)


def _form(told: Any) -> str:
    return "temperature" if isinstance(told, dict) and "temperature" in told else "isotonic"


_Calibration = Annotated[
    Annotated[_Isotonic, Tag("isotonic")] | Annotated[_Temperature, Tag("temperature")], Discriminator(_form)
]


class _Triage(_Told):
    """The `triage` section of a bundle's metadata.

    score, operating_point: what the score is, and how the thresholds were measured. For people: nothing goes by them.
    """

    modality: str
    anatomic_region: _Code
    classes: dict[int, _Class] = Field(min_length=1)
    probability_threshold: float = Field(gt=0, lt=1)
    min_volume_ml: float = Field(ge=0)
    min_slices: int = Field(ge=1)
    thresholds: _Thresholds
    calibrated: bool
    scope_statement: str
    sensitivity_statement: str
    expects: Expects = Expects()
    calibration: _Calibration | None = None
    inputs: tuple[_Input, ...] = ()
    score: dict[str, Any] | None = None
    operating_point: dict[str, Any] | None = None


class Metadata(BaseModel):
    """What Vigie takes of a bundle's metadata, most of which are MONAI's."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: str
    description: str = ""
    triage: _Triage


def undecided(told: Any, where: str = "") -> list[str]:
    """The keys of a triage section, nested ones too, that are null: a person must decide them."""
    if told is None:
        return [where]
    each = told.items() if isinstance(told, dict) else ()
    return [key for name, value in each for key in undecided(value, f"{where}.{name}".lstrip("."))]


def is_decided(triage: dict[str, Any]) -> bool:
    """Whether nothing that has to be there is null."""
    required = (name for name, field in _Triage.model_fields.items() if field.is_required())
    return not undecided({name: triage[name] for name in required if name in triage})


def wrong_in(triage: dict[str, Any]) -> list[str]:
    """What is wrong in a triage section, by key; not what is missing or null, which a person has yet to decide."""
    try:
        _Triage.model_validate(triage)
    except ValidationError as error:
        told = [one for one in error.errors() if one["type"] != "missing" and one["input"] is not None]
        return [f"triage.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in told]
    return []


def read_metadata(bundle: Path) -> Metadata:
    """Of a bundle. Raises ModelRefused; FileNotFoundError: there are none."""
    raw = whole_metadata(bundle)
    try:
        return Metadata.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        file = TRIAGE if first["loc"][0] == "triage" and (bundle / TRIAGE).exists() else METADATA
        raise ModelRefused("bad_metadata", f"{file} of '{bundle.name}': {where}: {first['msg']}") from error


def model_of(identity: ModelIdentity, metadata: Metadata, bundle_sha256: str) -> Model:
    """The model that they describe. Raises ModelRefused: its thresholds or its calibration are none."""
    triage = metadata.triage
    calibration = _calibration(identity, triage)
    try:
        thresholds = Thresholds(**triage.thresholds.model_dump())
    except ValueError as error:
        raise ModelRefused("bad_metadata", f"triage.thresholds of '{identity.name}': {error}") from error
    return Model(
        identity=identity,
        modality=triage.modality,
        anatomic_region=Code(**triage.anatomic_region.model_dump()),
        classes=tuple(
            ModelClass(
                value=value,
                name=told.name,
                kind=told.kind,
                category=_code(told.category),
                type=_code(told.type),
                channels=told.channels,
            )
            for value, told in sorted(triage.classes.items())
        ),
        thresholds=thresholds.through(calibration) if calibration else thresholds,
        probability_threshold=triage.probability_threshold,
        min_volume_ml=triage.min_volume_ml,
        min_slices=triage.min_slices,
        calibrated=triage.calibrated,
        scope_statement=triage.scope_statement,
        sensitivity_statement=triage.sensitivity_statement,
        description=metadata.description,
        expects=triage.expects.expectations(),
        calibration=calibration,
        inputs=tuple(
            ModelInput(
                name=told.name,
                modality=told.modality or triage.modality,
                patterns=tuple(one.pattern for one in told.patterns),
            )
            for told in triage.inputs
        ),
        bundle_sha256=bundle_sha256,
    )


def _calibration(identity: ModelIdentity, triage: _Triage) -> Calibration | None:
    told = triage.calibration
    if told is None and triage.calibrated:
        text = (
            f"'{identity.name}' says it is calibrated, without a `calibration`: of a network whose scores are "
            'probabilities already it is {"temperature": 1, "studies": N}'
        )
        raise ModelRefused("bad_metadata", text)
    if told is None:
        return None
    if triage.calibrated and told.studies < LEAST_STUDIES:
        text = f"'{identity.name}' says it is calibrated, on {told.studies} studies: {LEAST_STUDIES} are needed"
        raise ModelRefused("bad_metadata", text)
    try:
        form = Temperature if isinstance(told, _Temperature) else Isotonic
        return form(**told.model_dump())
    except ValueError as error:
        raise ModelRefused("bad_metadata", f"triage.calibration of '{identity.name}': {error}") from error


def _code(told: _Code | None) -> Code | None:
    return Code(**told.model_dump()) if told is not None else None
