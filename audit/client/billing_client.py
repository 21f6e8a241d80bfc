"""Submits billed requests to a running audit service, and asks what is found about the meter.

Stands on the caller's side of the wire: records go in, records come out, and errors are our own. It
does not verify signatures; hand `BillingView.envelope` to `audit.ledger` for that.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from queue import SimpleQueue

from inference_audit.v1 import billing_service_pb2 as pb
from inference_audit.v1.billing_service_pb2_grpc import BillingServiceStub

from audit.billing_records import AccountKey, BilledRequest
from audit.client.connection import DEFAULT_TIMEOUT_S, Connection
from audit.client.errors import translated
from audit.codec.billing_limits import check_account_key, check_billed_request, check_finding_id
from audit.codec.limits import MAX_MESSAGE_BYTES, page_size_of
from audit.codec.wire_billing import billed_request_to_wire
from audit.codec.wire_billing_finding import (
    BillingAck,
    BillingView,
    account_from_wire,
    ack_from_wire,
    key_to_wire,
)
from audit.errors import AuditError, InvalidRequest, StorageError, VerificationError

DEFAULT_PAGE_SIZE = 100
#: Enough to hide the way to the service and back; further requests are not read from the caller.
MAX_UNACKNOWLEDGED = 16


class BillingClient(Connection):
    """A connection to billing audits at `host:port`; safe to share between threads.

    Every method raises ConfigurationError where the service cannot be reached or audits no bills,
    StorageError where its database is not available or no answer came in time, and
    VerificationError for an answer to something else.
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
        self._stub = BillingServiceStub(self._channel)

    def submit(self, requests: Iterable[BilledRequest]) -> Iterator[BillingAck]:
        """Yield the acknowledgement of each request, in order; waits without limit.

        Submitting again does no harm. Where a request is refused, here or by the service, those
        before it are acknowledged first, and none after it is taken. Raises: InvalidRequest,
        RequestConflict, and whatever `requests` raises.
        """
        outgoing: SimpleQueue[pb.SubmitUsageRequest | None] = SimpleQueue()
        waiting: deque[str] = deque()
        refused: AuditError | None = None
        with translated(self._address):
            # gRPC reads the queue in a thread of its own; the caller's iterable stays in this one.
            answers = self._stub.SubmitUsage(iter(outgoing.get, None))
            try:
                messages = map(self._message, requests)
                while True:
                    try:
                        message = next(messages, None)
                    except AuditError as error:
                        refused, message = error, None
                    outgoing.put(message)
                    if message is None:
                        break
                    waiting.append(message.request.request_id)
                    if len(waiting) == MAX_UNACKNOWLEDGED:
                        yield _ack(answers, waiting.popleft())
                while waiting:
                    yield _ack(answers, waiting.popleft())
            finally:
                outgoing.put(None)
                answers.cancel()
        if refused is not None:
            raise refused

    def get(self, finding_id: str) -> BillingView:
        """Return one finding as it stands. Raises: InvalidRequest, AuditNotFound."""
        check_finding_id(finding_id)
        found = self._get(pb.GetBillingFindingRequest(finding_id=finding_id))
        _require_asked(found.finding.finding_id == finding_id)
        return found

    def get_by_key(self, key: AccountKey) -> BillingView:
        """Return the finding about a key as it stands; the service puts in its own tenant.

        An empty calibration_id stands for the one in use. Raises: InvalidRequest, AuditNotFound.
        """
        check_account_key(key)
        message = key_to_wire(key)
        found = self._get(pb.GetBillingFindingRequest(key=message))
        answered = key_to_wire(found.key)
        if not message.calibration_id:
            answered.calibration_id = ""
        _require_asked(answered == message)
        return found

    def list(self, *, page_size: int = DEFAULT_PAGE_SIZE) -> Iterator[BillingView]:
        """Yield the findings about all accounts, most recently updated first, page by page.

        One that is updated meanwhile may be missing. Raises: InvalidRequest.
        """
        request = pb.ListBillingFindingsRequest(page_size=page_size_of(page_size))
        while True:
            with translated(self._address):
                page = self._stub.ListBillingFindings(request, timeout=self._timeout_s)
            yield from map(account_from_wire, page.accounts)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def watch(self, finding_id: str) -> Iterator[BillingView]:
        """Yield a finding as it stands and at each change, without end.

        Raises: InvalidRequest, AuditNotFound.
        """
        check_finding_id(finding_id)
        with translated(self._address):
            answers = self._stub.WatchAccount(pb.WatchAccountRequest(finding_id=finding_id))
            try:
                for answer in answers:
                    found = account_from_wire(answer.account)
                    _require_asked(found.finding.finding_id == finding_id)
                    yield found
            finally:
                answers.cancel()

    def _get(self, request: pb.GetBillingFindingRequest) -> BillingView:
        with translated(self._address):
            answer = self._stub.GetBillingFinding(request, timeout=self._timeout_s)
        return account_from_wire(answer.account)

    def _message(self, request: BilledRequest) -> pb.SubmitUsageRequest:
        check_billed_request(request)
        message = pb.SubmitUsageRequest(request=billed_request_to_wire(request))
        num_bytes = message.ByteSize()
        if num_bytes > self._max_message_bytes:
            raise InvalidRequest.of(
                "request", f"has {num_bytes} bytes, the limit is {self._max_message_bytes}"
            )
        return message


def _ack(answers: Iterator[pb.SubmitUsageResponse], request_id: str) -> BillingAck:
    answer = next(answers, None)
    if answer is None:
        raise StorageError(
            f"the service ended the stream before it acknowledged request {request_id}; submit it "
            "and those after it again: repeating is safe"
        )
    _require_asked(answer.request_id == request_id)
    return ack_from_wire(answer)


def _require_asked(is_asked: bool) -> None:
    if not is_asked:
        raise VerificationError("the service's answer is not the one asked for: do not rely on it")
