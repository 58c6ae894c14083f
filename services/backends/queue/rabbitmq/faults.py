"""What pika and the broker say, in our words. No text holds a password."""

import ssl
from collections.abc import Iterator

from pika import exceptions
from pika.adapters.utils import connection_workflow as workflow

from services.triage.errors import QueueRefused, TransientError
from services.triage.errors import QueueUnavailable as Unavailable

ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED, NOT_ALLOWED, INTERNAL_ERROR = 403, 404, 406, 530, 541


def as_error(raised: BaseException) -> TransientError:
    """The error of ours that this is."""
    causes = list(_causes(raised))
    for cause in causes:
        refused = _refusal(cause)
        if refused:
            return QueueRefused(refused)
    innermost = causes[-1]
    return Unavailable(f"RabbitMQ does not answer or has gone: {type(innermost).__name__}")


def is_internal(raised: BaseException) -> bool:
    """Whether the broker says that it failed itself: so it does where a quorum queue has no process."""
    return _code(raised) == INTERNAL_ERROR


def _refusal(cause: BaseException) -> str | None:
    if isinstance(cause, exceptions.AuthenticationError | exceptions.ProbableAuthenticationError):
        return "RabbitMQ refuses the user or the password of VIGIE_BROKER_URL"
    if isinstance(cause, exceptions.ProbableAccessDeniedError) or _code(cause) == NOT_ALLOWED:
        return "RabbitMQ has no such virtual host as VIGIE_BROKER_URL names, or this user may not enter it"
    if isinstance(cause, ssl.SSLError):
        return f"TLS with RabbitMQ failed: {cause.reason}; see VIGIE_BROKER_CA, _CERTIFICATE and _KEY"
    if _code(cause) == ACCESS_REFUSED:
        return f"RabbitMQ refuses this user a right (configure, write, read) to our queues: {_text(cause)}"
    if _code(cause) == PRECONDITION_FAILED:
        return (
            f"a queue on RabbitMQ has other properties than this version declares: {_text(cause)}. "
            "Delete that queue (rabbitmqctl delete_queue NAME; what was in it is published again from the database), "
            "or set VIGIE_BROKER_PREFIX to use new ones"
        )
    return None


def _code(cause: BaseException) -> int | None:
    if isinstance(cause, exceptions.ConnectionClosed | exceptions.ChannelClosed):
        return int(cause.reply_code)
    return None


def _text(cause: BaseException) -> str:
    return str(getattr(cause, "reply_text", ""))


def _causes(raised: BaseException) -> Iterator[BaseException]:
    """An error and what it wraps, outermost first; pika wraps in attributes of its own."""
    yield raised
    inner: BaseException | None = None
    if isinstance(raised, workflow.AMQPConnectionWorkflowFailed):
        inner = raised.exceptions[-1]
    elif isinstance(raised, workflow.AMQPConnectorPhaseErrorBase):
        inner = raised.exception
    elif raised.args and isinstance(raised.args[0], BaseException):
        inner = raised.args[0]
    if inner is not None:
        yield from _causes(inner)
