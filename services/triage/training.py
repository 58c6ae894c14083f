"""Training: which answered studies may be shown to a learner, which a round takes, and how well the learner does."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from hashlib import blake2b
from math import sqrt

from services.triage.errors import Reason
from services.triage.finding import Outcome
from services.triage.traits import fold
from services.triage.verdict import Answer, Truth

HELD_FOR = timedelta(days=30)
"""So long after a round began, images of its cases that are not answered stay, whatever retention says."""

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""The SOP class, and what those of its multi-frame kinds begin with (PS3.4 B.5)."""


class Kind(StrEnum):
    """Of a case: whether the readers saw a lesion, and whether the AI agreed with them."""

    AI_FOUND = "ai_found"
    AI_MISSED = "ai_missed"
    AI_SILENT = "ai_silent"
    AI_FALSE_ALARM = "ai_false_alarm"


class Mix(StrEnum):
    """What a round is made of: as it comes, as many with as without lesions, one of both, or where the AI was wrong."""

    ANY = "any"
    BALANCED = "balanced"
    LESIONS = "lesions"
    NORMAL = "normal"
    AI_WRONG = "ai_wrong"


_LESIONS = frozenset({Kind.AI_FOUND, Kind.AI_MISSED})
_TAKEN = {
    Mix.LESIONS: _LESIONS,
    Mix.NORMAL: frozenset(Kind) - _LESIONS,
    Mix.AI_WRONG: frozenset({Kind.AI_MISSED, Kind.AI_FALSE_ALARM}),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A study that readers have answered. truth: theirs; all who said anything said this. readers: how many."""

    study_instance_uid: str
    result_id: str
    series_instance_uid: str
    model_name: str
    outcome: Outcome
    truth: Truth
    readers: int

    @property
    def kind(self) -> Kind:
        """Whether the AI agreed with the readers; what is equivocal is a finding."""
        said = self.outcome is not Outcome.NOTHING_FOUND
        if self.truth is Truth.PRESENT:
            return Kind.AI_FOUND if said else Kind.AI_MISSED
        return Kind.AI_FALSE_ALARM if said else Kind.AI_SILENT


def consensus(truths: Iterable[Truth]) -> Truth:
    """What readers agree on; unknown where they disagree, or say nothing of it."""
    said = set(truths) - {Truth.UNKNOWN}
    return said.pop() if len(said) == 1 else Truth.UNKNOWN


def choose(candidates: Sequence[Candidate], mix: Mix, size: int, *, key: bytes) -> list[Candidate]:
    """The cases of a round, in its order: at random, and the same for the same key (at most 64 bytes)."""

    def drawn(one: Candidate) -> bytes:
        return blake2b(one.study_instance_uid.encode(), key=key, digest_size=16, person=b"vigie-round").digest()

    pool = sorted((one for one in candidates if one.kind in _TAKEN.get(mix, frozenset(Kind))), key=drawn)
    if mix is Mix.BALANCED:
        with_lesions = [one for one in pool if one.kind in _LESIONS]
        without = [one for one in pool if one.kind not in _LESIONS]
        each = min(len(with_lesions), len(without), (size + 1) // 2)
        pool = sorted(with_lesions[:each] + without[:each], key=drawn)
    return pool[:size]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFacts:
    """What of an image's header tells whether a person can be recognized in its pixels; '' where it does not say.

    burned_in: Burned In Annotation (0028,0301). recognizable: Recognizable Visual Features (0028,0302).
    overlaid: an overlay lies in bits of the pixels themselves, so that it stays when overlays are removed.
    text: body part, anatomy and descriptions. positions_mm: of its frames along the patient's long axis; as told.
    """

    sop_class_uid: str
    modality: str
    image_type: tuple[str, ...] = ()
    burned_in: str = ""
    overlaid: bool = False
    recognizable: str = ""
    text: str = ""
    positions_mm: tuple[float, ...] = ()


BURNED_IN = Reason(code="burned_in", text="text is burned into the images")
MAY_BE_BURNED_IN = Reason(code="may_be_burned_in", text="text may be burned into the images: their headers do not say")
FACE = Reason(code="face", text="a face can be made of the images")
MAY_BE_A_FACE = Reason(code="may_be_a_face", text="it is not told that the images end below the face")
EXCLUSIONS = (BURNED_IN, MAY_BE_BURNED_IN, FACE, MAY_BE_A_FACE)
RULES = 3
"""Of `exclusion`: one more whenever it answers otherwise, so that what was found by others is not believed any more."""

# text is not burned into them as acquired; screens, renderings and reports of these are derived
_SLICES = frozenset({"CT", "MR", "PT"})
_SHOWS_NO_FACE = frozenset({"MG", "DX", "CR"})  # projections
_LONGEST_TRUNK_MM = 650.0  # what is longer reaches from the pelvis to the head
# of folded text, in English, French, German, Spanish and Italian; no surface, facet, overhead, header, incidental,
# craniocaudal nor thorax de face, which are of no head
_HEAD = re.compile(
    r"(?<!over)(?<!\ba)head(?!less|er)|kopf|tete|\btesta\b|cabe[cz]a|\bcapo\b|poly ?trauma|"
    r"brain|cereb|cerv(?:eau|el)|(?:en|ydro|idro)ce(?:ph|f)al|\bce(?:ph|f)al(?!\w* ?caudal)|hirn|neuro|mening|gliom|"
    r"h?ip+ocamp|pituit|h?[iy]po(?:phys|fis)|\bsella|selle turc|stroke|\bavc\b|\bictus|schlaganf|\bwillis|"
    r"skull|(?<!caudo)(?<!caudo )crani(?!\w* ?caudal)|crane|schae?del|calvari|vertex|"
    r"(?<!sur)(?<!inter)(?<!\bde )face(?!t| (?:et )?profil)|(?<!inter)faci(?:al|es)|facci[ao]|massicc|"
    r"visage|gesicht|\bcara\b|\bviso\b|stirn|"
    r"sinus|\bsen[oi] paran|nebenho|\bnnh\b|nasal|nasen|\bnose|\bnez\b|\bnas[eo]\b|nariz|rhino|\brino|"
    r"orbit|\beyes?\b|oeil|\bœil|\byeux|\baugen?\b|\bojos?\b|occhi|ocular|o(?:ph|f)th?alm|"
    r"\bears?\b|oreille|\bohr(?:en)?\b|\boidos?\b|orecchi|temporal|schlafen|petro[su]|\brochers?\b|"
    r"felsenb|penasco|mastoid|co[ck]h?lea|auditi|auditory|"
    r"jaw|mandib|maxil|kiefer|mascell|machoire|\bdent[aeisu]|zahn|zaehn|teeth|tooth|odont|"
    r"neck|nacken|hals|\bcou\b|\bnuque|\bnuca\b|cuello|\bcollo\b|cervic|\bhws\b|\bc ?spine|"
    r"\borl\b|\bent\b|\bhno\b|\bvads\b|pharyn|faring|laryn|laring|rachen|throat|gorge\b|garganta|\bgola\b|tongue|langue\b|"
    r"\bzunge|lengua\b|lingua|mouth|bouche|\bboca\b|bocca|\bmund\b|parotid|salivar|speichel|thyr[eo]|schilddr|tiroid|"
    r"[ck]aroti[ds]|\btsa\b|supra ?aorti|"
    r"(?:whole|full|total) ?(?:body|spine)|corps entier|rachis entier|ganzk|ganzwirb|cuerpo (?:entero|completo)|"
    r"corpo intero|(?:columna|colonna) (?:completa|total|in toto)"
)
_TRUNK = re.compile(
    r"\b(?:chest|thora|tora[xc]|lung|poumon|pulm|heart|cardi|coeur|breast|sein|abd|pelv|liver|foie|kidney|renal|"
    r"reins?\b|prostat|hips?\b|knee|genou|ankle|foot|hands?\b|wrist|elbow|l ?spine|lumb)"
)
# letters that a wrong character set spoiled (UTF-8 taken for Latin-1 among them), or of a script that is not ours
_UNREAD = re.compile("\ufffd|Ã[\x80-\xbf]|[\u0370-\u1dff\u2e80-\uffdc]")


def exclusion(images: Sequence[ImageFacts]) -> Reason | None:
    """Why a series is not shown to learners; None: nobody can be recognized in it, so far as headers tell.

    What is in doubt is left out.
    """
    return text_in(images) or face_in(images)


def text_in(images: Sequence[ImageFacts]) -> Reason | None:
    """Whether text is burned in (PS3.15 E.3.1, Clean Pixel Data)."""
    if any(one.burned_in == "YES" or one.overlaid for one in images):
        return BURNED_IN
    if any(one.burned_in != "NO" and not _is_as_acquired(one) for one in images):
        return MAY_BE_BURNED_IN
    return None


def face_in(images: Sequence[ImageFacts]) -> Reason | None:
    """Whether a face can be made of them (PS3.15 E.3.2, Clean Recognizable Visual Features)."""
    text = fold(*sorted({one.text for one in images}))
    positions = [position for one in images for position in one.positions_mm]
    is_long = bool(positions) and max(positions) - min(positions) > _LONGEST_TRUNK_MM
    is_placed = all(one.positions_mm for one in images if one.modality in _SLICES)  # else nobody knows how long it is
    if any(one.recognizable == "YES" for one in images) or _HEAD.search(text):
        return FACE
    if all(one.modality in _SHOWS_NO_FACE for one in images):
        return None
    is_read = not any(_UNREAD.search(one.text) for one in images)
    return None if is_read and is_placed and not is_long and _TRUNK.search(text) else MAY_BE_A_FACE


def _is_as_acquired(one: ImageFacts) -> bool:
    is_capture = one.sop_class_uid.startswith(SECONDARY_CAPTURE)
    return one.modality in _SLICES and not is_capture and one.image_type[:1] in ((), ("ORIGINAL",))


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How often a learner answered as the readers did; low, high: 95 % confidence interval, None of nothing."""

    right: int
    answered: int
    low: float | None = None
    high: float | None = None


def agrees(answer: Answer, truth: Truth) -> bool:
    """Whether an answer is the readers'; unsure is not."""
    return (answer, truth) in ((Answer.PRESENT, Truth.PRESENT), (Answer.ABSENT, Truth.ABSENT))


def agreement(right: int, answered: int) -> Agreement:
    """With its interval (E. B. Wilson, J Am Stat Assoc 1927;22:209)."""
    if not answered:
        return Agreement(right=0, answered=0)
    z, share = 1.959964, right / answered
    centre = share + z * z / (2 * answered)
    spread = z * sqrt(share * (1 - share) / answered + (z / (2 * answered)) ** 2)
    scale = 1 + z * z / answered
    return Agreement(
        right=right,
        answered=answered,
        low=max(0.0, (centre - spread) / scale),
        high=min(1.0, (centre + spread) / scale),
    )


def pseudonym(uid: str, *, key: bytes) -> str:
    """The UID that stands for another within a round: always the same, and nobody's without the key (at most 64 bytes).

    Of the form of PS3.5 B.2; a UID that DICOM has given out itself stays.
    """
    if uid.startswith("1.2.840.10008."):
        return uid
    digest = blake2b(uid.encode(), key=key, digest_size=16, person=b"vigie-training").digest()
    return f"2.25.{int.from_bytes(digest)}"
