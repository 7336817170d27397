"""How an operation can fail, whichever protocol carried it: one number space, one name each.

1 to 16 are gRPC's status codes; 20 to 39 are ZooKeeper's error codes under the project's numbers; 40 and above
arise in the client. ``OK`` is 0. A failure is *definite* when the store cannot have applied the operation, and its
outcome is *unknown* otherwise (a request that timed out may have been applied).
"""

from enum import IntEnum

ERROR_CODES = 64
"""Size of the error axis in every counter array."""


class ErrorCode(IntEnum):
    """Outcome of one operation; 0 is success."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    ZK_CONNECTION_LOSS = 20
    ZK_OPERATION_TIMEOUT = 21
    ZK_BAD_ARGUMENTS = 22
    ZK_NO_NODE = 23
    ZK_NO_AUTH = 24
    ZK_BAD_VERSION = 25
    ZK_NO_CHILDREN_FOR_EPHEMERALS = 26
    ZK_NODE_EXISTS = 27
    ZK_NOT_EMPTY = 28
    ZK_SESSION_EXPIRED = 29
    ZK_INVALID_ACL = 30
    ZK_AUTH_FAILED = 31
    ZK_MARSHALLING = 32
    ZK_UNIMPLEMENTED = 33
    ZK_THROTTLED = 34
    ZK_OTHER = 39

    TIMEOUT = 40
    """No answer within the request's time-out; it may have been applied."""
    CONNECTION_LOST = 41
    """The connection broke after the request was sent, before its answer came."""
    NOT_CONNECTED = 42
    """Never sent: no connection could be had within the request's time-out."""
    NOT_SENT = 43
    """Never sent: still waiting for its turn when the phase ended."""
    COMPARE_FAILED = 44
    """The store answered that the condition of a compare-and-swap did not hold."""
    PROTOCOL_ERROR = 45
    """The answer could not be understood."""
    RESPONSE_TOO_LARGE = 46
    """The answer was larger than the client reserves space for."""
    LEASE_EXPIRED = 47
    """A keep-alive found its lease gone."""
    REQUEST_TOO_LARGE = 48
    """Never sent: the request is larger than the client's send buffer."""


DEFINITE: frozenset[int] = frozenset(
    {
        ErrorCode.INVALID_ARGUMENT,
        ErrorCode.NOT_FOUND,
        ErrorCode.ALREADY_EXISTS,
        ErrorCode.PERMISSION_DENIED,
        ErrorCode.RESOURCE_EXHAUSTED,
        ErrorCode.FAILED_PRECONDITION,
        ErrorCode.OUT_OF_RANGE,
        ErrorCode.UNIMPLEMENTED,
        ErrorCode.UNAUTHENTICATED,
        ErrorCode.ZK_BAD_ARGUMENTS,
        ErrorCode.ZK_NO_NODE,
        ErrorCode.ZK_NO_AUTH,
        ErrorCode.ZK_BAD_VERSION,
        ErrorCode.ZK_NO_CHILDREN_FOR_EPHEMERALS,
        ErrorCode.ZK_NODE_EXISTS,
        ErrorCode.ZK_NOT_EMPTY,
        ErrorCode.ZK_INVALID_ACL,
        ErrorCode.ZK_AUTH_FAILED,
        ErrorCode.ZK_MARSHALLING,
        ErrorCode.ZK_UNIMPLEMENTED,
        ErrorCode.ZK_THROTTLED,
        ErrorCode.NOT_CONNECTED,
        ErrorCode.NOT_SENT,
        ErrorCode.COMPARE_FAILED,
        ErrorCode.LEASE_EXPIRED,
        ErrorCode.REQUEST_TOO_LARGE,
    }
)
"""Codes that say the store did not apply the operation. Every other failure has an unknown outcome.

RESOURCE_EXHAUSTED is definite because etcd answers it before proposing (NOSPACE, too many requests).
"""

ERROR_NAMES: dict[int, str] = {int(code): code.name for code in ErrorCode}


def outcome_is_unknown(code: int) -> bool:
    """Whether an operation that ended in ``code`` may have been applied although it failed."""
    return code != ErrorCode.OK and code not in DEFINITE
