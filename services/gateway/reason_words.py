"""Coded reasons in the language of the page. Their own texts are in English, and may tell more than the code does."""

from dataclasses import dataclass

from services.gateway.language import ENGLISH, current_language, noted
from services.gateway.language import translated as _
from services.triage.errors import Reason
from services.triage.identity import NOT_AGREED
from services.triage.organ import NO_TUMOUR_CLASS
from services.triage.result import IDENTITY_CORRECTED, MOVED, OVERTAKEN, RECALLED
from services.triage.retention import IMAGES_GONE
from services.triage.switch import MODEL_SWITCHED_OFF
from services.triage.uncertainty import NO_CANDIDATE, NOT_ON_GRID, NOT_SERVED

_OF_STUDIES = {
    "no_rule": noted("no rule claims the study"),
    "routing_failed": noted("the routing of this study broke: a person must look at it"),
    "no_suitable_series": noted("no series of the study suits the model"),
    "two_patients": noted("the images are of two patients; nothing is written to the PACS until that is corrected"),
    "missing_input": noted("a series that the model needs is missing"),
    IMAGES_GONE.code: noted(
        "images of the study are no longer kept here: have the PACS send all of it again, then analyse it again"
    ),
    NO_TUMOUR_CLASS.code: noted("the model has no tumour class: it looks for no lesions"),
    MODEL_SWITCHED_OFF.code: noted("the model is switched off here: nobody but a person looks at this study"),
    NOT_AGREED.code: noted(
        "the images do not agree on patient or order data yet; the result stands under the earlier ones"
    ),
    RECALLED.code: noted("the result was recalled"),
}

_OF_SERIES = {
    "wrong_modality": noted("the modality is not one of the model"),
    "other_body_part": noted("neither series nor study tell a body part of the rule"),
    "wrong_orientation": noted("the slices lie in another plane"),
    "too_few_slices": noted("too few slices"),
    "too_many_slices": noted("too many slices"),
    "too_thick": noted("the slices are too thick"),
    "wrong_image_type": noted("the images are of another type"),
    "wrong_contrast": noted("contrast agent is not as the rule wants it"),
    "wrong_manufacturer": noted("not of a manufacturer of the rule"),
    "not_an_image": noted("no image that a model could look at"),
    "not_grayscale": noted("images have colours"),
    "not_slices": noted("these are no slices"),
    "secondary_capture": noted("a secondary capture has no place in the patient"),
    "several_series": noted("the images are of several series"),
}

_OF_IMAGES = {
    "unreadable_header": noted("the header of an image cannot be read"),
    "no_pixels": noted("an instance of the series is no image"),
    "undecodable_pixels": noted("an image cannot be decoded"),
    "unsupported_pixels": noted("the pixels are kept in a way that is not supported"),
    "unsupported_modality": noted("images of this modality make no volume"),
    "implausible_size": noted("the size of an image is not plausible"),
    "too_large": noted("the series is too large"),
    "no_geometry": noted("an image does not tell where it lies"),
    "bad_geometry": noted("what an image tells of its place has no meaning"),
    "no_rescale": noted("the values of the pixels cannot be rescaled"),
    "gantry_tilt": noted("the gantry was tilted"),
    "mixed_frames_of_reference": noted("the images are in several frames of reference"),
    "other_frame_of_reference": noted("the series are in several frames of reference"),
    "mixed_orientations": noted("the slices are not parallel"),
    "mixed_pixel_spacing": noted("the pixel spacing varies"),
    "mixed_sizes": noted("the images differ in size"),
    "several_volumes": noted("the series holds several volumes"),
    "duplicate_positions": noted("several slices lie at one place"),
    "missing_slices": noted("slices are missing"),
    "variable_spacing": noted("the slices are not evenly spaced"),
    "shifted_slices": noted("a slice lies beside its place"),
    "input_not_covered": noted("a further series does not cover the one to analyse"),
}

_UNEXPECTED = {
    "unexpected_low_intensity": noted("lowest intensity unlike the model's images"),
    "unexpected_high_intensity": noted("highest intensity unlike the model's images"),
    "unexpected_lung_percent": noted("share of aerated lung unlike the model's images"),
    "unexpected_lung_ml": noted("volume of aerated lung unlike the model's images"),
    "unexpected_bone_percent": noted("share of bone unlike the model's images"),
    "unexpected_body_area_cm2": noted("cross-section of the body unlike the model's images"),
    "unexpected_extent_mm": noted("length covered unlike the model's images"),
    "unexpected_field_of_view_mm": noted("field of view unlike the model's images"),
    "unexpected_slice_spacing_mm": noted("distance between slices unlike the model's images"),
    "unexpected_slice_thickness_mm": noted("slice thickness unlike the model's images"),
    "unexpected_pixel_spacing_mm": noted("pixel spacing unlike the model's images"),
    "unexpected_body_part_examined": noted("another body part than the model's images"),
    "unexpected_convolution_kernel": noted("another convolution kernel than the model's images"),
}

_OF_WORK = {
    "out_of_memory": noted("memory ran out"),
    "time_limit": noted("it took more than the time limit"),
    "internal_error": noted("an error that nobody foresaw"),
    "runner_failed": noted("the model broke"),
    "run_failed": noted("a mirrored run of the model broke"),
    "worker_died": noted("no attempt came to an end: the worker died or was lost each time"),
    "worker_stopped": noted("the worker was stopped during the analysis"),
    "unknown_model": noted("the worker does not have this model"),
    "version_not_here": noted("the worker does not have this version of the model"),
    "segmenter_unavailable": noted("the inference server does not answer"),
    NO_CANDIDATE.code: noted("there is no candidate whose score could vary"),
    NOT_ON_GRID.code: noted("the network does not answer on the grid of its input"),
    NOT_SERVED.code: noted("Triton serves the model with a Vigie that makes no mirrored runs"),
}

_OF_BUNDLES = {
    "unreadable": noted("a file of the model's bundle cannot be read"),
    "bad_metadata": noted("the metadata of the model's bundle are not as they must be"),
    "old_monai": noted("this MONAI would run code that lies in a bundle: a newer one must be installed"),
    "no_metadata": noted("the model's bundle has no metadata"),
    "not_described": noted("the model's bundle does not say what its classes mean"),
    "bad_registration": noted("what Vigie noted of the model's bundle when it was added cannot be read"),
    "needs_trust": noted("the model's bundle would run code that nobody has said to trust"),
    "runs_only_in_triton": noted("the model's bundle runs code of its own, so in Triton only"),
    "no_inference_config": noted("the model's bundle has no inference config"),
    "bad_inference_config": noted("the inference config of the model's bundle cannot be used"),
    "missing_section": noted("the inference config of the model's bundle lacks a section"),
    "unsupported_evaluator": noted("the inference config of the model's bundle has an evaluator that is not supported"),
    "not_of_volumes": noted("the network takes flat pictures, and no volumes"),
    "no_weights": noted("the model's bundle has no file of weights, or several"),
    "bad_weights": noted("the weights of the model's bundle cannot be loaded"),
    "other_weights": noted("the model's bundle loads other weights than those of its version"),
    "unknown_version": noted("there is no bundle of this version of the model, or more than one"),
    "model_not_served": noted("Triton does not have the model: it must be exported to its repository"),
    "model_not_loaded": noted("Triton cannot load the model"),
    "other_model_served": noted("Triton has another model under this name"),
    "volume_too_large": noted("the volume is too large to be sent to Triton over the network"),
}

_OF_DELIVERIES = {
    "destination_unavailable": noted("the destination does not answer, or refuses the association"),
    "context_rejected": noted("the destination does not accept this kind of object"),
    "store_refused": noted("the destination refuses the object"),
    "message_refused": noted("the receiver refuses the message"),
    "gone": noted("the receiver wants to hear no more"),
    "commitment_failed": noted("not all objects were committed"),
    "commitment_unanswered": noted("the storage commitment was not answered"),
    "commitment_unsupported": noted("the destination knows no storage commitment"),
    "commitment_refused": noted("the destination refuses storage commitment"),
    IDENTITY_CORRECTED.code: noted("sent under the corrected patient or order data instead"),
    OVERTAKEN.code: noted("the receiver was told of a later result already"),
    MOVED.code: noted("the study was moved to another tenant"),
}

REASON_WORDS = {**_OF_STUDIES, **_OF_SERIES, **_OF_IMAGES, **_UNEXPECTED, **_OF_WORK, **_OF_BUNDLES, **_OF_DELIVERIES}
"""What a code means, in English: of some reasons the whole text, of others what the text tells more closely."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """words: in the language of the page. english: what is told in English beside them, or in their place."""

    words: str = ""
    english: str = ""


def code_words(code: str) -> str:
    """What a code means, in the language of the page; '' of one that is not known here."""
    return _(REASON_WORDS[code]) if code in REASON_WORDS else ""


def reason_words(reason: Reason) -> Told:
    """What the code means, with the text where that says more; on an English page the text alone."""
    if current_language() == ENGLISH or reason.code not in REASON_WORDS:
        return Told(english=reason.text)
    meaning = REASON_WORDS[reason.code]
    return Told(words=_(meaning), english="" if reason.text == meaning else reason.text)
