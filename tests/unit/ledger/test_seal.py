"""An entry's digest, envelope and leaf belong together, and the leaf's bytes are fixed."""

import base64
import hashlib
import json

import rfc8785
from securesystemslib.dsse import Envelope

from audit.ledger.hashedrekord import leaf_body
from audit.log_records import EntryKind
from tests.golden.ledger.examples import CHAIN, KEY, OTHER_KEY, example_entry, passed
from tests.golden.ledger.regenerate import GOLDEN

SEALED = example_entry(passed())


def test_the_entry_repeats_its_place_and_name() -> None:
    assert (SEALED.kind, SEALED.entry_key) == (EntryKind.VERDICT, "verdict:audit-1")
    assert (SEALED.tenant, SEALED.tenant_sequence) == (CHAIN.tenant, CHAIN.sequence)


def test_the_digest_is_that_of_the_signed_bytes() -> None:
    envelope = json.loads(SEALED.envelope)
    payload = base64.b64decode(envelope["payload"])
    signed = Envelope(payload, envelope["payloadType"], {}).pae()
    assert SEALED.entry_digest == f"sha256:{hashlib.sha256(signed).hexdigest()}"


def test_the_leaf_names_digest_signature_and_key() -> None:
    leaf = json.loads(SEALED.leaf_body)
    record = leaf["spec"]["hashedRekordV002"]
    assert (leaf["apiVersion"], leaf["kind"]) == ("0.0.2", "hashedrekord")
    digest = base64.b64decode(record["data"]["digest"]).hex()
    assert f"sha256:{digest}" == SEALED.entry_digest
    stated = json.loads(SEALED.envelope)["signatures"][0]["sig"]
    assert record["signature"]["content"] == stated
    key = base64.b64decode(record["signature"]["verifier"]["publicKey"]["rawBytes"])
    assert hashlib.sha256(key).hexdigest() == KEY.key_id


def test_the_leaf_is_canonical_and_pinned() -> None:
    assert SEALED.leaf_body == rfc8785.dumps(json.loads(SEALED.leaf_body))
    assert SEALED.leaf_body == (GOLDEN / "passed.leaf.json").read_bytes()
    assert SEALED.leaf_hash == hashlib.sha256(b"\0" + SEALED.leaf_body).digest()
    assert len(SEALED.leaf_body) < 600


def test_the_leaf_changes_with_each_of_its_parts() -> None:
    base = leaf_body(b"signed", b"signature", KEY.public_key_pem)
    others = {
        leaf_body(b"Signed", b"signature", KEY.public_key_pem),
        leaf_body(b"signed", b"Signature", KEY.public_key_pem),
        leaf_body(b"signed", b"signature", OTHER_KEY.public_key_pem),
    }
    assert len(others | {base}) == 4
