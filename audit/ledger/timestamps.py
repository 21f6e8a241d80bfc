"""RFC 3161: somebody else's clock over a checkpoint, and so over every entry below it.

The stamp is over the checkpoint's note text, without its signature lines. Needs `rfc3161-client`,
which is loaded only when a stamp is asked for or checked. Certificates need to be valid at the time
that the stamp states, not today: stamps are kept for longer than certificates live.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import (
    Certificate,
    InvalidVersion,
    load_der_x509_certificate,
    load_pem_x509_certificates,
)

from audit.errors import AuditError, ConfigurationError, VerificationError
from audit.ledger.http_post import PostFailed, post

if TYPE_CHECKING:
    from rfc3161_client import TimeStampRequest, TimeStampResponse, VerifierBuilder

QUERY_TYPE = "application/timestamp-query"
REPLY_TYPE = "application/timestamp-reply"

_GRANTED = 0
_MAX_REPLY_BYTES = 65_536
_NOT_INSTALLED = (
    "RFC 3161 timestamps need one more library: pip install 'inference-audit[timestamps]'"
)
# What the library and `cryptography` raise for bytes that are not what they should be.
_UNREADABLE = (ValueError, KeyError, TypeError, OverflowError, InvalidVersion, UnsupportedAlgorithm)
# What OpenSSL says of a certificate comes first: it is nearer to the cause than its last error.
_OPENSSL_REASONS = (re.compile(r'data: "Verify error: ([^"]+)"'), re.compile(r'reason: "([^"]+)"'))


class TimestampError(VerificationError):
    """A response is no valid stamp by this authority over this text; the text says why."""


class TimestampUnavailable(AuditError):
    """The authority could not be reached, or did not answer with a stamp."""


def request_timestamp(
    note_text: str, authority_url: str, chain_pems: Sequence[str], *, timeout_s: float = 10.0
) -> bytes:
    """Return an authority's response (DER) over a note's text, after checking it and its nonce.

    Raises: TimestampUnavailable, TimestampError, ConfigurationError.
    """
    request = _build_request(note_text.encode())
    chain = _load_chain(chain_pems)
    try:
        answer = post(
            authority_url,
            request.as_bytes(),
            content_type=QUERY_TYPE,
            timeout_s=timeout_s,
            max_answer_bytes=_MAX_REPLY_BYTES,
        )
    except PostFailed as error:
        raise TimestampUnavailable(f"no timestamp: {error}") from error
    if answer.status != 200 or answer.content_type != REPLY_TYPE:
        raise TimestampUnavailable(
            f"no timestamp: {authority_url} answered {answer.status} with {answer.content_type} "
            f"instead of 200 with {REPLY_TYPE}: is it an RFC 3161 authority?"
        )
    _verify(answer.body, note_text.encode(), chain, request)
    return answer.body


def verify_timestamp(response: bytes, note_text: str, chain_pems: Sequence[str]) -> datetime:
    """Return the time (UTC) at which an authority saw a note's text.

    The chain has the authority's root, and what leads from it to the signer as far as the response
    does not carry it; each text may hold several PEM certificates.
    Raises: TimestampError, ConfigurationError. Source: RFC 3161 section 2.4.2.
    """
    return verify_timestamp_of(response, note_text.encode(), chain_pems)


def verify_timestamp_of(response: bytes, message: bytes, chain_pems: Sequence[str]) -> datetime:
    """Return the time (UTC) at which an authority saw a message; see `verify_timestamp`.

    Raises: TimestampError, ConfigurationError.
    """
    return _verify(response, message, _load_chain(chain_pems), None)


def _build_request(message: bytes) -> "TimeStampRequest":
    try:
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder
    except ImportError as error:
        raise ConfigurationError(_NOT_INSTALLED) from error
    builder = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256)
    return builder.nonce(nonce=True).cert_request(cert_request=True).build()


def _verify(
    response: bytes,
    message: bytes,
    chain: Sequence[Certificate],
    request: "TimeStampRequest | None",
) -> datetime:
    try:
        from rfc3161_client import VerificationError as Refused
        from rfc3161_client import VerifierBuilder, decode_timestamp_response
    except ImportError as error:
        raise ConfigurationError(_NOT_INSTALLED) from error
    try:
        stamp = decode_timestamp_response(response)
        if stamp.status != _GRANTED:
            said = "; ".join(stamp.status_string) or "no reason given"
            raise TimestampError(f"the authority granted no timestamp: {said}")
        builder = VerifierBuilder() if request is None else VerifierBuilder.from_request(request)
        verifier = _with_chain(builder, chain, _missing_signer(stamp, chain)).build()
        verifier.verify_message(stamp, message)
        return stamp.tst_info.gen_time
    except Refused as error:
        raise TimestampError(f"the timestamp does not verify: {_reason(str(error))}") from error
    except _UNREADABLE as error:
        raise TimestampError(f"the response is not a readable RFC 3161 one: {error}") from error


def _load_chain(chain_pems: Sequence[str]) -> list[Certificate]:
    try:
        chain = [found for pem in chain_pems for found in load_pem_x509_certificates(pem.encode())]
    except ValueError as error:
        raise ConfigurationError(
            "the time-stamp authority's chain is not PEM certificates: name a file that begins "
            "with BEGIN CERTIFICATE"
        ) from error
    if not any(found.issuer == found.subject for found in chain):
        raise ConfigurationError(
            "the time-stamp authority's chain has no self-signed root: add its root certificate"
        )
    return list(dict.fromkeys(chain))


def _missing_signer(stamp: "TimeStampResponse", chain: Sequence[Certificate]) -> Certificate | None:
    """Return the signer's certificate where only the chain has it; None where the response does.

    Raises: TimestampError where nobody has it, or where the response carries foreign certificates:
    its signature does not cover them, so anybody can put some in.
    """
    signers = list(stamp.signed_data.signer_infos)
    if len(signers) != 1:
        raise TimestampError(f"the timestamp has {len(signers)} signers instead of one")
    name = (signers[0].issuer, signers[0].serial_number)
    carried = [load_der_x509_certificate(der) for der in stamp.signed_data.certificates]
    known = [found for found in chain if (found.issuer, found.serial_number) == name]
    for found in carried:
        # A signer that the chain knows must be the very same: a look-alike has its name and serial.
        if found not in chain and (known or (found.issuer, found.serial_number) != name):
            raise TimestampError(
                "the timestamp carries a certificate that is neither its signer's nor of the "
                f"authority's chain ({found.subject.rfc4514_string()}): add it to the chain if it "
                "is the authority's"
            )
    if not carried and not known:
        raise TimestampError(
            "the timestamp carries no certificate, and the authority's chain does not have its "
            "signer's: add that one to the chain"
        )
    return None if carried else known[0]


def _with_chain(
    builder: "VerifierBuilder", chain: Sequence[Certificate], signer: Certificate | None
) -> "VerifierBuilder":
    for found in chain:
        if found.issuer == found.subject:
            builder = builder.add_root_certificate(found)
        elif found != signer:
            builder = builder.add_intermediate_certificate(found)
    return builder if signer is None else builder.tsa_certificate(signer)


def _reason(text: str) -> str:
    """Return the telling part of an OpenSSL error stack, or the whole text."""
    for pattern in _OPENSSL_REASONS:
        found = pattern.findall(text)
        if found:
            return str(found[-1])
    return text
