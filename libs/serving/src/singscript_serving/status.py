"""Errors on the wire: a StageError becomes a gRPC status with ErrorInfo, and comes back as a RelayedError."""

from __future__ import annotations

import re

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from singscript_core import errors
from singscript_serving import tls

DOMAIN = "singscript"
# In the metadata of an error, for whoever relays it.
_REACHED = "reached"

# Ordered: the first class that fits wins.
_CODES: tuple[tuple[type[errors.StageError], grpc.StatusCode], ...] = (
    (errors.InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.Rejected, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.NotAuthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (errors.NotAllowed, grpc.StatusCode.PERMISSION_DENIED),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.TimedOut, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.BrokenStream, grpc.StatusCode.ABORTED),
    (errors.Cancelled, grpc.StatusCode.CANCELLED),
)
# What waiting can mend; everything else is final.
RETRYABLE_CODES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)


class RelayedError(errors.StageError):
    """An error that another service reported; its code, reason, message and metadata are kept."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        retry_after_s: float | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s, metadata=metadata)
        self.code = code
        self.reason = reason
        self.retryable = code in RETRYABLE_CODES


class UpstreamUnavailable(errors.Unavailable):
    """The service that this one needs cannot be reached, or stopped answering."""

    reason = "UPSTREAM_UNAVAILABLE"


class HandshakeFailed(errors.Unavailable):
    """This service and the one that it needs do not accept each other's certificates."""

    reason = "TLS_HANDSHAKE_FAILED"


class UpstreamNotConfigured(errors.InvalidInput):
    """The request names a stage whose address this service was not given."""

    reason = "UPSTREAM_NOT_CONFIGURED"


def status_code(error: errors.StageError) -> grpc.StatusCode:
    """The gRPC code that stands for this error."""
    if isinstance(error, RelayedError):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def to_status(error: errors.StageError) -> status_pb2.Status:
    """The error as google.rpc.Status, with ErrorInfo and, where known, RetryInfo and BadRequest."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    details = [_packed(info)]
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration(nanos=0)
        delay.FromMilliseconds(round(error.retry_after_s * 1000))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    if isinstance(error, errors.InvalidInput) and error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=one.field, description=one.message)
            for one in error.violations
        ]
        details.append(_packed(error_details_pb2.BadRequest(field_violations=violations)))
    code = code_pb2.Code.Value(status_code(error).name)
    return status_pb2.Status(code=code, message=error.message, details=details)


def was_reached(error: errors.StageError) -> bool:
    """False where a service was not there at all, so that nothing was done yet."""
    return error.metadata.get(_REACHED) != "no"


def from_rpc_error(error: grpc.aio.AioRpcError, service: str, *, reached: bool = True) -> errors.StageError:
    """What a call to `service` (its short name, for the sentence) failed with, as a StageError.

    Args:
        reached: whether the service took the call.
    """
    # The stubs know only the synchronous call; AioRpcError has the same trailing metadata.
    status = rpc_status.from_call(error)  # pyright: ignore[reportArgumentType]
    if status is not None:
        reason, metadata, retry_after_s = "", {}, None
        for detail in status.details:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                info = error_details_pb2.ErrorInfo()
                detail.Unpack(info)
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                retry = error_details_pb2.RetryInfo()
                detail.Unpack(retry)
                retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
        if reason:
            return RelayedError(error.code(), reason, status.message, retry_after_s=retry_after_s, metadata=metadata)
    code, facts = error.code(), {"service": service}
    if code is grpc.StatusCode.UNAVAILABLE and (why := _why_no_connection(error.details() or "")):
        return HandshakeFailed(f"The {service} cannot be spoken to: {why}", metadata=facts | {_REACHED: "no"})
    if code is grpc.StatusCode.UNAVAILABLE and not reached:
        return UpstreamUnavailable(f"The {service} cannot be reached.", metadata=facts | {_REACHED: "no"})
    if code is grpc.StatusCode.UNAVAILABLE:
        return UpstreamUnavailable(f"The {service} cannot be reached, or stopped in the middle.", metadata=facts)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.TimedOut(f"The {service} did not finish in time.", metadata=facts)
    if code is grpc.StatusCode.CANCELLED:
        # Our own cancellation surfaces as asyncio.CancelledError: this one comes from a peer that drains.
        return UpstreamUnavailable(f"The {service} stopped in the middle.", metadata=facts)
    return RelayedError(code, code.name, f"The {service} answered: {error.details()}", metadata=facts)


def _why_no_connection(details: str) -> str:
    """What is wrong with TLS between two services, as gRPC tells it; empty: nothing that is known."""
    if "CERTIFICATE_VERIFY_FAILED" in details:
        fault = re.search(r"CERTIFICATE_VERIFY_FAILED: ([\w ]+)", details)
        why = fault[1] if fault else "no reason was given"
        return f"its certificate is not trusted ({why}). Check its SINGSCRIPT_TLS_CERT, and SINGSCRIPT_TLS_CA here."
    if "Hostname Verification" in details:
        return "its certificate is not for the name that it is dialled by. Make it one for that name."
    if "WRONG_VERSION_NUMBER" in details:
        return "it speaks no TLS, and this process does. Set SINGSCRIPT_TLS_CERT for both."
    if "handshake failed" in details:
        return "TLS between the two cannot be set up. Check SINGSCRIPT_TLS_CERT of both."
    # A server says no more than this to a client whose certificate it refuses.
    if (
        tls.identity()
        and "failed to connect" in details
        and re.search(r"Socket closed|reset by peer|Broken pipe", details)
    ):
        return "it ends connections before they stand. It may not trust SINGSCRIPT_TLS_CERT of this process."
    return ""


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
