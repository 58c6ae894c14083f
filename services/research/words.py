"""Clean Descriptors: of a description only words that are in a list stay, and measures (PS3.15 E.3.5).

A list of what stays: a name that nobody thought of is none of them. English, French, German, Spanish and Italian words
of how images are taken, without accents, as `traits.fold` writes them.
"""

import re
from unicodedata import normalize

from services.triage.traits import fold

_WORDS = """
abdomen abdominal abdo angio angiography ankle aorta aortic arm arterial arteriel artery axial bassin bauch becken
bein biopsy body bone bones brain breast bronchi bronches bust cap cardiac cardio cerebral cervical chest cheville
cheek colon contrast contraste coronal coude cou crane cranial cuisse delayed delay dental diffusion dixon dorsal
doppler dwi adc dynamic early echo elbow encephale enterography epaule epi esophagus expiration expiratory fat femur
fibula fistula flair foie foot forearm fuss genou gland gradient gre hals hand hanche head heart hepatic herz high
hip hirn hrct inspiration inspiratory inversion irm jambe kidney knee knie kopf larynx late lateral leber left leg
limb links liver localizer low lower lumbar lunge lungs lung main mammography mammo mediastin mediastinum medium
membre mip mpr native nativ neck neuro nodule noncontrast obl oblique oesophage orbit orbits pa pancreas pelvis
pelvic pelvien perfusion phase pied plain poignet portal portale portovenous post postcontrast pre precontrast
prone prostate pulmonary pulmonaire rate rechts recon reconstruction rein renal resolution resp rib right sacrum
sagittal scan scanner scout screening sein sequence series shoulder sinus skull soft spectral spin spine spiral
spleen standard stir stomach supine survey tap tete temporal test thick thin thorax thoracic thoraco tibia tissue
tof torax tumor tumour turbo ultrasound upper ureter uro urography uterus vein venous veineux vertebra vessel vibe
volume weighted whole window wirbelsaule without with wrist
ap pa ct mr mri pet tdm us xr cr dx mg rx irm ivim t1 t1w t2 t2w pd pdw tse fse mprage space bh bhold mm cm kv kvp
ma mas ms sec kernel lungkernel softkernel b10f b20f b30f b31f b40f b45f b50f b60f b70f br40 bl57 iv im ce cemr gd
gado gadolinium iode iodine iomeron omnipaque ultravist visipaque and et und of
"""
KNOWN = frozenset(_WORDS.split())
_ETHNIC_GROUPS = """
africain africaine african afrikanisch afro alaska alaskan america american and arab arabe arabic arabisch asian
asiatico asiatique asiatisch australian autre black blanc blanche caribbean caucasian caucasien caucasienne central
chinese decline declined east eastern et ethnic europaisch european europeen europeenne filipino group hawaiian
hispanic inconnu indian indigenous inuit islander japanese jewish kaukasisch korean latin latina latino maori
mediterranean metis middle mixed more multiple multiracial native no noir noire non north not of or origin other
pacific polynesian race races schwarz slavic south southeast southern spanish turkish two unbekannt und unknown
vietnamese weiss west white y
"""
ETHNIC_GROUPS = frozenset(_ETHNIC_GROUPS.split())
_UNIT = r"(?:mm|cm|ml|kvp?|mas?|ms|s|sec|min|t|%)"
_PART = re.compile(rf"[^\W\d_][^\W_]*|\d(?:[^\W_]|[.,/:-](?=\d))*(?: ?{_UNIT}(?![^\W_]))?")
"""A word; or a number with its unit and all that hangs on it: a date and a telephone number are one."""
_NUMBER = re.compile(rf"[0-9]{{1,2}}(?:[.,][0-9]{{1,3}})? ?({_UNIT})?")
"""With more than two digits it may be a room, a bed, or part of an ID."""
_COUNTED = frozenset({"phase", "echo", "recon"})


def known_words(text: str) -> str:
    """The description without the words that are not known, in lower case."""
    parts = ["", *_PART.findall(normalize("NFKC", text).lower()), ""]
    kept = []
    for before, part, after in zip(parts, parts[1:], parts[2:], strict=False):
        if (word := fold(part)) in KNOWN:
            kept.append(word)
        elif _tells_how(before, part, after):
            kept.append(part)
    return " ".join(kept)


def ethnic_group(text: str) -> str:
    """As it was told, where every word of it is in the list; else nothing: without a word it may say another thing."""
    return text if set(fold(text).split()) <= ETHNIC_GROUPS else ""


def _tells_how(before: str, part: str, after: str) -> bool:
    """Of a number: it has a unit, or counts a phase. Of several in a row, a date or a telephone number, none does."""
    found = _NUMBER.fullmatch(part)
    if found is None or _is_bare(before):
        return False
    return found[1] is not None or (before in _COUNTED and not _is_bare(after))


def _is_bare(part: str) -> bool:
    """It is a number without a unit."""
    return part[:1].isdigit() and part[-1:].isdigit()
