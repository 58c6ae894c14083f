"""What a campaign has done and found."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An invariant that does not hold. `made`: how to make the input again; `content`: the input itself."""

    what: str
    made: str = ""
    content: bytes = b""

    def __str__(self) -> str:
        return f"{self.what} ({self.made})" if self.made else self.what


@dataclass(kw_only=True)
class Tally:
    """Of one target. `refused`: how many by code. `seconds`: sending and judging."""

    target: str
    cases: int = 0
    kept: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    def found(self, what: str, *, made: str = "", content: bytes = b"") -> None:
        """Note a finding."""
        self.findings.append(Finding(what=what, made=made, content=content))
