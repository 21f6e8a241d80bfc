"""A trust root is taken whole or not at all; each refusal says what to mend."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.errors import EntryNotFound
from audit.ledger.bundle import build_bundle
from audit.ledger.note_keys import format_vkey
from audit.ledger.sigstore_root import to_sigstore_trusted_root
from audit.ledger.trust_root import TrustRoot, TrustRootError, dump_trust_root, load_trust_root
from tests.golden.ledger.examples import KEY, OTHER_KEY
from tests.support.vectors import vectors_folder
from tests.unit.ledger.small_log import (
    LOG_SIGNER,
    ORIGIN,
    POLICY,
    PQ_SIGNER,
    TRUST_ROOT,
    small_log,
    trust_root,
)


def _key(root: Any) -> Any:
    return root["verdictKeys"][0]


CHANGES: list[tuple[str, Callable[[Any], object]]] = [
    ("lacks the member 'policy'", lambda r: r.pop("policy")),
    ("lacks the member 'timestampAuthorities'", lambda r: r.pop("timestampAuthorities")),
    ("unknown member 'extra'", lambda r: r.update(extra=1)),
    ("mediaType is 'x'", lambda r: r.update(mediaType="x")),
    ("policy is not a text", lambda r: r.update(policy=7)),
    ("policy cannot be used: the policy has no quorum", lambda r: r.update(policy="# none\n")),
    ("names no log", lambda r: r.update(policy="quorum none\n")),
    ("verdictKeys is not an array", lambda r: r.update(verdictKeys={})),
    ("a verdict key is not a JSON object", lambda r: r.update(verdictKeys=["key"])),
    ("a verdict key lacks the member 'belowIndex'", lambda r: _key(r).pop("belowIndex")),
    ("a verdict key has the unknown member 'x'", lambda r: _key(r).update(x=1)),
    ("keyId is not a text", lambda r: _key(r).update(keyId=None)),
    ("is not a PEM public key", lambda r: _key(r).update(publicKeyPem="no key")),
    ("has the id", lambda r: _key(r).update(publicKeyPem=OTHER_KEY.public_key_pem.decode())),
    ("verifierId is not a text", lambda r: _key(r).update(verifierId="")),
    ("fromIndex is not an index", lambda r: _key(r).update(fromIndex=-1)),
    ("fromIndex is not an index", lambda r: _key(r).update(fromIndex=True)),
    ("belowIndex is not an index", lambda r: _key(r).update(belowIndex="7")),
    ("ends at 1, before 2", lambda r: _key(r).update(fromIndex=2, belowIndex=1)),
    ("counts without end", lambda r: _key(r).update(compromisedAt="2026-01-02T03:04:05Z")),
    ("not a time", lambda r: _key(r).update(belowIndex=1, compromisedAt="yesterday")),
    (
        "not a time",
        lambda r: _key(r).update(belowIndex=1, compromisedAt="2026-01-02T03:04:05"),
    ),
    ("in it twice", lambda r: r["verdictKeys"].append(_key(r))),
    ("timestampAuthorities is not an array", lambda r: r.update(timestampAuthorities=None)),
    ("authority without PEM", lambda r: r.update(timestampAuthorities=["no certificate"])),
]


@pytest.mark.parametrize(("problem", "change"), CHANGES)
def test_each_defect_is_refused_by_name(problem: str, change: Callable[[Any], object]) -> None:
    document = json.loads(trust_root())
    change(document)
    with pytest.raises(TrustRootError, match=problem):
        load_trust_root(json.dumps(document).encode())


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b'{"a":1,"a":2}', b"[" * 100_000, b'{"a":"\\ud800"}']
)
def test_what_is_not_strict_json_is_refused(data: bytes) -> None:
    with pytest.raises(TrustRootError, match="not strict JSON"):
        load_trust_root(data)


def test_a_list_is_refused() -> None:
    with pytest.raises(TrustRootError, match="the trust root is not a JSON object"):
        load_trust_root(b"[]")


def test_what_is_written_reads_back_the_same() -> None:
    assert load_trust_root(dump_trust_root(TRUST_ROOT)) == TRUST_ROOT


def test_a_trust_root_that_would_not_load_is_never_written() -> None:
    with pytest.raises(TrustRootError, match="names no log"):
        dump_trust_root(TrustRoot(policy="quorum none\n", verdict_keys=()))


def test_the_rendering_for_sigstore_names_log_and_authorities() -> None:
    chain = _example_chain().read_text("utf-8")
    pq_line = f"log {format_vkey(PQ_SIGNER.key)}\n"
    root = TrustRoot(policy=pq_line + POLICY, verdict_keys=(), timestamp_authorities=(chain,))
    document = json.loads(to_sigstore_trusted_root(root))
    (log,) = document["tlogs"]
    assert log["baseUrl"] == f"https://{ORIGIN}"
    assert log["publicKey"]["keyDetails"] == "PKIX_ED25519"
    (authority,) = document["timestampAuthorities"]
    assert len(authority["certChain"]["certificates"]) == chain.count("BEGIN CERTIFICATE")
    assert set(authority["subject"]) == {"organization", "commonName"}


def _example_chain() -> Path:
    found = sorted((vectors_folder() / "rfc3161").rglob("*.pem"))
    if not found:
        pytest.skip("no PEM chain lies in ../shared/vectors/rfc3161")
    return found[0]


def test_no_bundle_is_made_of_an_erased_entry() -> None:
    entry = small_log().entry(0)
    with pytest.raises(EntryNotFound, match="entry 0 was erased"):
        build_bundle(None, KEY.key_id, entry, 1, b"", (), b"", LOG_SIGNER.key)
