"""What one sender hands over in one go (an association, a request): a span for each study, not for each instance."""

import time

from services import tracing
from services.tracing import Kind, Span


class Reception:
    """Spans of the studies of one association, of one STOW-RS request, or of one retrieval. Not shared by threads.

    how: C-STORE, STOW-RS, C-GET.
    """

    def __init__(self, how: str, *, caller: str | None = None) -> None:
        self._how = how
        self._caller = caller
        self._studies: dict[str, tuple[Span, int]] = {}
        self._began_ns: int | None = None

    def begin(self) -> None:
        """From now on; without it each span begins with the first instance of its study."""
        self._began_ns = time.time_ns()

    def of(self, study_instance_uid: str, *, received_from: str) -> Span:
        """The span that an instance of this study belongs to. caller: a link to the trace that the sender told of."""
        span, instances = self._studies.get(study_instance_uid, (None, 0))
        if span is None:
            span = tracing.start(
                f"receive {self._how}",
                kind=Kind.SERVER,
                links=(self._caller,),
                start_ns=self._began_ns,
                study_instance_uid=study_instance_uid,
                received_from=received_from,
            )
        self._studies[study_instance_uid] = span, instances + 1
        return span

    def end(self) -> None:
        """No more comes."""
        for span, instances in self._studies.values():
            span.tell(instances=instances)
            span.end()
        self._studies.clear()
