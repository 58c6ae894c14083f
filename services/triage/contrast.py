"""Whether a series was made with a contrast agent, as far as its headers tell."""

import re

from services.triage.study import InstanceHeader
from services.triage.traits import fold

# What people write into Contrast/Bolus Agent where there was none, folded; a 'non-ionic' one is an agent.
_NO_AGENT = re.compile(
    r"(none|nil|null|no[nt]?(?! ?ion)|without|w ?o|sans|ohne|sin|senza|sem|nativ\w*|plain|unenhanced|unknown|kein\w*"
    r"|aucun\w*|nessun\w*|ningun\w*|nenhum\w*)\b.*"
    r"|(iv |mr |ct )?([ck]ontrast\w*|km|agent|bolus|injection|gadolinium) (none|no|non|nein)"
    r"|n|n ?a|nein|false|c|pre( ?contrast)?|0( 0+)?( ?ml)?|"
)
# Signs, which folding takes away. A plus: "T1 CUBE +C", "C+", "+ Gd"; but "+/-" and "C- C+" (of a whole protocol) tell
# nothing. A minus: "T1 C-", "T1 -C"; but not a spine (C-SPINE), nor where it may join two words (T1-C).
_PLUS = re.compile(r"\+ ?(c|ce|gd|gado\w*|km)(?![^\W_])|(?<![^\W_])(c|ce|gd|gado\w*|km) ?\+", re.IGNORECASE)
_MINUS = re.compile(r"(?<![^\W_])c-(?![^\W_])|(?<!\S)-c(?![^\W_])", re.IGNORECASE)
_BOTH = re.compile(r"[-+] ?/ ?[-+]|(?<![^\W_])(c ?-[\W_]*(and )?c ?\+|c ?\+[\W_]*(and )?c ?-(?![^\W_]))", re.IGNORECASE)


def has_contrast(header: InstanceHeader) -> bool:
    """Whether Contrast/Bolus Agent names one (`NONE` is none), or a description has one with a plus."""
    agent = header.contrast_bolus_agent
    signed = (agent, header.series_description, header.protocol_name)
    return any(_PLUS.search(text) and not _BOTH.search(text) for text in signed) or not _NO_AGENT.fullmatch(fold(agent))


def says_without(text: str) -> str:
    """A description, before it is folded, with a word in the place of a minus."""
    return text if _BOTH.search(text) else _MINUS.sub(" without ", text)
