"""The one tree of errors. An error's class is its verdict: what becomes of the work that raised it.

VigieError
├── TransientError              retry later, with backoff; nothing is lost
│   ├── StoreUnavailable        the database does not answer
│   ├── SchemaBehind            the database waits for 'vigie db upgrade'
│   ├── QueueUnavailable        the broker does not answer, or takes no messages now
│   ├── QueueRefused            the broker will not have us as we are set up: a person must act, the text says how
│   ├── OutOfResources          no space left to keep an instance (DIMSE 0xA7xx)
│   ├── SegmenterUnavailable    the inference server does not answer
│   ├── AnalysisCancelled       whoever asked for the analysis has stopped it halfway
│   ├── VersionNotHere          a version of a model that this worker's folder does not have, or not yet
│   ├── ProviderUnavailable     the identity provider does not answer
│   └── DestinationUnavailable  a PACS is down or refuses the association
├── RejectedError               will never work as it is; carries a coded Reason
│   ├── InstanceRefused         one instance cannot be kept (DIMSE 0xA9xx, 0xCxxx, 0x0124)
│   ├── OutOfScope              no rule claims the study
│   ├── NotAnalysed             a rule claims the study, but it cannot be done
│   ├── AnalysisFailed          the analysis was tried and broke
│   ├── ModelRefused            a bundle cannot be used
│   ├── RulesRefused            a file of routing rules cannot be used
│   ├── PacsRefused             a file of PACS that are asked cannot be used
│   ├── DestinationsRefused     a file of destinations or receivers cannot be used
│   ├── RequestersRefused       a file of those who may ask for storage commitment cannot be used
│   ├── TenantsRefused          a file of tenants cannot be used
│   ├── PeersRefused            a file of DICOM peers cannot be used
│   ├── BlindRefused            a file of blind-first mode cannot be used
│   ├── PeopleRefused           a file of people cannot be used
│   ├── ErasureRefused          a study that cannot be erased at this moment
│   ├── BackupRefused           a copy that cannot be made, is not whole, or is not to be put here
│   ├── OidcRefused             a file that says how people sign in at an identity provider cannot be used
│   ├── TokenRefused            a token, or an answer of the identity provider, that does not prove who somebody is
│   ├── ExposureRefused         a listener would be open to whoever reaches it
│   ├── CertificatesRefused     a certificate, key or revocation list cannot be used
│   ├── MessageRefused          an HL7 message cannot be understood, or is of a kind that is not taken
│   ├── ListenerRefused         a listener cannot be set up as it is told
│   ├── SchemaRefused           a database is newer than this program can use
│   ├── DestinationRefused      a PACS answers that it will not take an object
│   ├── SwitchRefused           a model, a version or a tenant that is not known, or not theirs to switch
│   ├── RolloutRefused          a version cannot have that part, or nothing can be rolled back
│   ├── WorkitemRefused         a workitem is in another state, or another's
│   ├── VerdictRefused          a reader's answer to what is not there, or not theirs to undo
│   └── ReadingRefused          a study that another reader has, or that is not there
├── LeaseLost                   another worker holds the job now: stop, write nothing
└── DeadLetterError             a message nobody can act on: keep it for a person
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Verdict(StrEnum):
    """What a queue does with work that ended in an error."""

    RETRY = "retry"
    REJECT = "reject"
    DEAD_LETTER = "dead_letter"
    ABANDON = "abandon"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """A coded reason: `code` for machines (stable, snake_case), `text` for people (no patient data)."""

    code: str
    text: str


class VigieError(Exception):
    """The root; never raised itself."""

    verdict: ClassVar[Verdict] = Verdict.DEAD_LETTER


class TransientError(VigieError):
    """Something outside is not there now; the same work may succeed later."""

    verdict = Verdict.RETRY

    @property
    def reason(self) -> Reason:
        """The class's name as a code, and the text."""
        return Reason(code=re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower(), text=str(self))


class StoreUnavailable(TransientError):
    """The database does not answer."""


class SchemaBehind(TransientError):
    """The database has no tables yet, or older ones than this program needs: 'vigie db upgrade' is still to come."""


class QueueUnavailable(TransientError):
    """The broker does not answer, or takes no messages now."""


class QueueRefused(TransientError):
    """The broker will not have us as we are set up: credentials, TLS, a queue of other properties.

    A person must act and the text says how; transient all the same, for the jobs wait in the database.
    """


class OutOfResources(TransientError):
    """No space is left to keep an instance (PS3.4 B.2.3: status 0xA7xx)."""


class SegmenterUnavailable(TransientError):
    """The inference server does not answer."""


class AnalysisCancelled(TransientError):
    """Whoever asked for the analysis has stopped it halfway."""


class VersionNotHere(TransientError):
    """The worker's folder of models does not have the version that is in force, or not yet."""


class ProviderUnavailable(TransientError):
    """The identity provider does not answer, or not as one; who is signed in already stays so."""


class DestinationUnavailable(TransientError):
    """A destination is down, or refuses the association; `taken`: SOP Instance UIDs that it has said success to."""

    def __init__(self, text: str, *, taken: Collection[str] = ()) -> None:
        super().__init__(text)
        self.taken = tuple(taken)


class RejectedError(VigieError):
    """The work can never succeed as it is."""

    verdict = Verdict.REJECT

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{text} [{code}]")
        self.reason = Reason(code=code, text=text)


class InstanceRefused(RejectedError):
    """One instance cannot be kept as an instance; `status` is the DIMSE answer (PS3.4 B.2.3, PS3.7 9.1.1.1.9)."""

    CANNOT_UNDERSTAND: ClassVar[int] = 0xC000
    DATA_SET_MISMATCH: ClassVar[int] = 0xA900
    NOT_AUTHORIZED: ClassVar[int] = 0x0124  # PS3.7 annex C

    def __init__(self, code: str, text: str, *, status: int = CANNOT_UNDERSTAND) -> None:
        super().__init__(code, text)
        self.status = status


class OutOfScope(RejectedError):
    """No rule claims the study."""


class NotAnalysed(RejectedError):
    """A rule claims the study, but it cannot be analysed: the code says why."""


class AnalysisFailed(RejectedError):
    """The analysis was tried and broke: the code says how."""


class ModelRefused(RejectedError):
    """A bundle cannot be used as a model: the code says why."""


class RulesRefused(RejectedError):
    """A file of routing rules cannot be used: the text names file, rule and key."""


class DestinationsRefused(RejectedError):
    """A file of destinations, or of receivers, cannot be used: the text names file, destination and field."""


class PacsRefused(RejectedError):
    """A file of PACS that are asked cannot be used: the text names file, PACS and field."""


class RequestersRefused(RejectedError):
    """A file of those who may ask for storage commitment cannot be used: the text names file, AE title and field."""


class ErasureRefused(RejectedError):
    """A study that cannot be erased at this moment: the code says why."""


class BackupRefused(RejectedError):
    """A copy that cannot be made, is not whole, or is not to be put here: the code says why."""


class CertificatesRefused(RejectedError):
    """A certificate, its key, or a file of authorities or a revocation list in it cannot be used: the text names it."""


class MessageRefused(RejectedError):
    """An HL7 v2 message is answered with an error; the text quotes no value.

    condition: ERR-3, from HL7 table 0357. location: ERR-2. acknowledgement: the second letter of MSA-1, 'E' where the
    content is wrong, 'R' where no such message is taken here.
    """

    def __init__(self, code: str, text: str, *, condition: int, location: str = "", acknowledgement: str = "E") -> None:
        super().__init__(code, text)
        self.condition = condition
        self.location = location
        self.acknowledgement = acknowledgement


class ListenerRefused(RejectedError):
    """A listener cannot be protected as it is set up: the text names what cannot be used."""


class TenantsRefused(RejectedError):
    """A file of tenants cannot be used: the text names file, tenant and field."""


class PeersRefused(RejectedError):
    """A file of DICOM peers cannot be used: the text names file, peer and field, or what it contradicts."""


class BlindRefused(RejectedError):
    """A file of blind-first mode cannot be used: the text names file, rule and field."""


class PeopleRefused(RejectedError):
    """A file of people cannot be used: the text names file, person and field, and quotes no key."""


class OidcRefused(RejectedError):
    """A file of an identity provider cannot be used: the text names file and key, and quotes no secret."""


class TokenRefused(RejectedError):
    """What an identity provider's token or answer does not prove; the code says what is wrong, the text quotes none."""


class ExposureRefused(RejectedError):
    """A listener would be open to whoever reaches it: the text names what is missing, and the way out."""


class SchemaRefused(RejectedError):
    """A database whose tables this program cannot use: the text says what to do."""


class DestinationRefused(RejectedError):
    """A destination answers that it will not take an object."""


class WorkitemRefused(RejectedError):
    """A change of a workitem that its state or its owner forbids; the text ends in the DIMSE status (PS3.4 CC.2)."""


class SwitchRefused(RejectedError):
    """A model cannot be switched, or its results recalled, under this name, version or tenant."""


class RolloutRefused(RejectedError):
    """A version of a model cannot have that part, or there is nothing to roll back."""


class VerdictRefused(RejectedError):
    """A reader's verdict on a study, a result or a lesion that is not there, or the undoing of what cannot be."""


class ReadingRefused(RejectedError):
    """Taking, releasing or marking as read a study that is not there, or another's."""


class LeaseLost(VigieError):
    """Another worker holds the job now: stop and write nothing."""

    verdict = Verdict.ABANDON


class DeadLetterError(VigieError):
    """A message nobody can act on: kept for a person to look at."""
