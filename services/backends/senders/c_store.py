"""ResultSender to a PACS: C-STORE of all objects of a result over one association."""

from collections.abc import Sequence
from pathlib import Path

from services.backends.senders.association import OutgoingFile, associate
from services.backends.senders.link import PLAIN, Link
from services.backends.senders.status import all_of
from services.triage.errors import DestinationRefused, DestinationUnavailable


class CStoreSender:
    """Sends to one peer, `address` being AET@HOST:PORT; `ae_title` is our own."""

    def __init__(self, address: str, ae_title: str, *, link: Link = PLAIN) -> None:
        self._address = address
        self._ae_title = ae_title
        self._link = link

    def send(self, files: Sequence[tuple[str, str, Path]]) -> None:
        """See ResultSender. An object that is refused does not keep the others from being sent."""
        outgoing = [OutgoingFile.read(path) for _, _, path in files]
        taken: list[str] = []
        refusals: list[DestinationRefused] = []
        with associate(self._address, self._ae_title, outgoing, implicit_fallback=True, link=self._link) as association:
            for file, (_, uid, _) in zip(outgoing, files, strict=True):
                try:
                    association.store(file)
                    taken.append(uid)
                except DestinationRefused as refusal:
                    refusals.append(refusal)
                except DestinationUnavailable as error:
                    raise DestinationUnavailable(str(error), taken=taken) from error
        if refusals:
            raise all_of(refusals, of=len(outgoing))
