"""A patient whose every identifier is rare, and a search for all of them in every encoding that may carry them.

Short ones are left out: a digest or a UID would hold them by chance.
"""

import base64
import html
import json
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus

from tests.support.house import chest_with_ball

ATTRIBUTES = {
    "PatientName": "Wörlitzsch^Änneliese^Żofia=渡辺^花子",
    "PatientID": "PID-77120-QX",
    "IssuerOfPatientID": "ST-ELSEWHERE",
    "PatientBirthDate": "19430217",
    "AccessionNumber": "ACC-90210-ZK",
    "StudyID": "SID-4711-WV",
    "StudyDescription": "Thorax Frau Wörlitzsch",
    "ReferringPhysicianName": "Überweiser^Ölaf",
    "StudyDate": "20260217",
    "StudyTime": "084533",
}
IDENTIFIERS = (
    "Wörlitzsch",
    "Woerlitzsch",
    "Worlitzsch",
    "Änneliese",
    "Anneliese",
    "Żofia",
    "渡辺",
    "花子",
    "PID-77120-QX",
    "ST-ELSEWHERE",
    "19430217",
    "1943-02-17",
    "ACC-90210-ZK",
    "SID-4711-WV",
    "Überweiser",
    "20260217",
    "2026-02-17",
)
_CODECS = ("utf-8", "utf-16-le", "utf-16-be", "latin-1", "iso2022_jp", "shift_jis", "gb18030", "iso8859-2")


def study(**attributes: object):
    """A chest CT of this patient that is found to have a lesion."""
    return chest_with_ball(**{**ATTRIBUTES, **attributes})


def traces(content: bytes) -> set[str]:
    """The identifiers that are in there, in whatever form."""
    folded = content.lower()
    return {name for name, forms in _FORMS.items() if any(form in folded for form in forms)}


def _forms(word: str) -> Iterator[bytes]:
    for spelling in (word, word.upper(), word.lower()):
        yield json.dumps(spelling)[1:-1].encode()
        yield repr(spelling)[1:-1].encode()
        yield ascii(spelling)[1:-1].encode()
        yield html.escape(spelling).encode()
        for codec in _CODECS:
            try:
                encoded = spelling.encode(codec)
            except UnicodeEncodeError:
                continue
            yield encoded
            yield encoded.hex().encode()
            yield repr(encoded)[2:-1].encode()
            yield quote(encoded).encode()
            yield quote_plus(encoded).encode()
            # the middle of it, wherever it begins in its group of three
            for before in range(3):
                coded = base64.b64encode(bytes(before) + encoded)
                whole = coded[4 if before else 0 : len(coded) // 4 * 4 - 4]
                if len(whole) >= 8:
                    yield whole
                    yield whole.translate(bytes.maketrans(b"+/", b"-_"))


_FORMS: Mapping[str, frozenset[bytes]] = {
    word: frozenset(form.lower() for form in _forms(word) if len(form) >= 4) for word in IDENTIFIERS
}
