"""Talks to a running audit service.

Stands on the caller's side of the wire: records go in, records come out, and errors are our own. It
does not verify signatures; hand `AuditView.signed` to `audit.ledger` for that.
"""

from collections.abc import Iterator

from inference_audit.v1 import audit_service_pb2 as pb
from inference_audit.v1.audit_service_pb2_grpc import AuditServiceStub

from audit.client.connection import DEFAULT_TIMEOUT_S, Connection
from audit.client.errors import translated
from audit.codec.limits import (
    MAX_MESSAGE_BYTES,
    check_audit_id,
    check_model_filter,
    check_request,
    page_size_of,
)
from audit.codec.wire import AuditView, audit_from_wire, request_to_wire
from audit.codec.wire_filter import filter_to_wire
from audit.codec.wire_provider import ProviderView, provider_from_wire
from audit.errors import InvalidRequest
from audit.records import AuditFilter, AuditRequest

DEFAULT_PAGE_SIZE = 100


class AuditClient(Connection):
    """A connection to the service at `host:port`; safe to share between threads.

    Every method raises ConfigurationError where the service cannot be reached, and StorageError
    where its database is not available or no answer came in time.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        super().__init__(address, timeout_s=timeout_s)
        self._max_message_bytes = max_message_bytes
        self._stub = AuditServiceStub(self._channel)

    def submit(self, request: AuditRequest) -> AuditView:
        """Return the new audit of an exchange, or the earlier one of the same request_id.

        Raises: InvalidRequest, before sending where that can be told; RequestConflict.
        """
        check_request(request)
        message = request_to_wire(request)
        num_bytes = message.ByteSize()
        if num_bytes > self._max_message_bytes:
            raise InvalidRequest.of(
                "exchange", f"has {num_bytes} bytes, the limit is {self._max_message_bytes}"
            )
        with translated(self._address):
            answer = self._stub.SubmitAudit(message, timeout=self._timeout_s)
        return audit_from_wire(answer.audit)

    def get(self, audit_id: str) -> AuditView:
        """Return one audit as it stands. Raises: AuditNotFound, InvalidRequest."""
        check_audit_id(audit_id)
        with translated(self._address):
            answer = self._stub.GetAudit(
                pb.GetAuditRequest(audit_id=audit_id), timeout=self._timeout_s
            )
        return audit_from_wire(answer.audit)

    def watch(self, audit_id: str) -> Iterator[AuditView]:
        """Yield an audit as it stands and at each change, the last time when it is DONE.

        Waits without limit: a replay may be long. Raises: AuditNotFound, InvalidRequest.
        """
        check_audit_id(audit_id)
        with translated(self._address):
            answers = self._stub.WatchAudit(pb.WatchAuditRequest(audit_id=audit_id))
            try:
                for answer in answers:
                    yield audit_from_wire(answer.audit)
            finally:
                answers.cancel()

    def list(
        self, where: AuditFilter | None = None, *, page_size: int = DEFAULT_PAGE_SIZE
    ) -> Iterator[AuditView]:
        """Yield all audits that match, newest first, one page at a time. Raises: InvalidRequest."""
        where = where or AuditFilter()
        check_model_filter(where.model)
        request = pb.ListAuditsRequest(
            page_size=page_size_of(page_size), filter=filter_to_wire(where)
        )
        while True:
            with translated(self._address):
                page = self._stub.ListAudits(request, timeout=self._timeout_s)
            yield from map(audit_from_wire, page.audits)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def list_providers(self, *, page_size: int = DEFAULT_PAGE_SIZE) -> Iterator[ProviderView]:
        """Yield the evidence about all providers, most recently updated first, page by page.

        One that is updated meanwhile may be missing. Raises: InvalidRequest, CorruptState.
        """
        request = pb.ListProvidersRequest(page_size=page_size_of(page_size))
        while True:
            with translated(self._address):
                page = self._stub.ListProviders(request, timeout=self._timeout_s)
            yield from map(provider_from_wire, page.providers)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
