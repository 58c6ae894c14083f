"""Independent judges of DICOM objects, from Debian: dicom3tools, dcmtk, libpixelmed-java with a Java runtime.

Each answers the errors that it finds, as lines. One that is not installed, or does not reach its end, fails the test.
"""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

PIXELMED_JAR = Path("/usr/share/java/pixelmed.jar")
# Java's own limits on XPath are too small for TID 1500.
JAVA_LIMITS = tuple(f"-Djdk.xml.xpath{limit}Limit=0" for limit in ("ExprGrp", "ExprOp", "TotalOp"))


def dciodvfy(path: Path) -> list[str]:
    """The IOD of one object: modules, types, value representations (dicom3tools)."""
    lines = _lines("dciodvfy", path)
    if not any(re.fullmatch(r"\w+", line) for line in lines):
        return ["dciodvfy does not know the IOD", *lines]
    return [line for line in lines if line.startswith(("Error", "Abort"))]


def dcentvfy(paths: Sequence[Path]) -> list[str]:
    """Whether patient, study and series are told alike by all objects (dicom3tools)."""
    return [line for line in _lines("dcentvfy", *paths) if line.startswith(("Error", "Abort"))]


def dsrdump(path: Path) -> list[str]:
    """Whether a second reader, dcmtk's, understands a report."""
    completed = subprocess.run(["dsrdump", path], capture_output=True, text=True, check=False)
    errors = [line for line in completed.stderr.splitlines() if line.startswith(("E: ", "F: ", "error"))]
    return errors or ([f"dsrdump: exit {completed.returncode}"] if completed.returncode else [])


def dcmpschk(path: Path) -> list[str]:
    """Whether dcmtk takes a presentation state for one."""
    lines = _lines("dcmpschk", path)
    faults = [line for line in lines if line.startswith(("E: ", "F: ")) or "not passed" in line.lower()]
    return faults if any("Test passed" in line for line in lines) else [*faults, "dcmpschk: not passed"]


def pixelmed(path: Path) -> list[str]:
    """The template of a report, TID 1500 and all it includes. Takes 5 to 50 seconds."""
    validator = ("-cp", PIXELMED_JAR, "com.pixelmed.validate.DicomSRValidator")
    lines = _lines("java", *JAVA_LIMITS, *validator, path)
    needed = ("IOD validation complete", "Root Template Validation Complete", "Found Root Template TID_1500")
    missing = [f"PixelMed does not say: {text}" for text in needed if not any(text in line for line in lines)]
    return [*missing, *(line for line in lines if line.startswith("Error"))]


def _lines(*command: str | Path) -> list[str]:
    completed = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=280)
    return [line.strip() for line in (completed.stdout + "\n" + completed.stderr).splitlines()]
