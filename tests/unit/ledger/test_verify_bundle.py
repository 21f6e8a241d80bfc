"""A bundle verifies under its trust root only as it was made; each refusal names its step."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.errors import VerificationError
from audit.ledger.cosignatures import WitnessSigner
from audit.ledger.note_keys import format_vkey
from audit.ledger.notes import Ed25519NoteSigner, sign_note
from audit.ledger.trust_root import VerdictKey, dump_trust_root
from audit.ledger.verify import STEPS, VerifiedVerdict, verify_bundle
from audit.log_records import Receipt
from tests.golden.ledger.examples import KEY, example_entry, passed
from tests.outside import changes
from tests.unit.ledger.small_log import (
    INTENT_INDEX,
    LOG_SIGNER,
    ORIGIN,
    POLICY,
    PQ_SIGNER,
    SIZE,
    TRUST_ROOT,
    VERDICT_INDEX,
    WITNESSED_AT,
    WITNESSES,
    bundle,
    small_log,
    trust_root,
)

ENTRY = ("verificationMaterial", "tlogEntries", 0)
PROOF = (*ENTRY, "inclusionProof")
NOTE = (*PROOF, "checkpoint", "envelope")
OTHER_LOG = Ed25519NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"O" * 32))
OTHER_WITNESS = WitnessSigner(
    "witness-1.example.net", Ed25519PrivateKey.from_private_bytes(b"F" * 32)
)


def _edited(path: tuple[str | int, ...], edit: Callable[[Any], Any]) -> bytes:
    document: Any = json.loads(bundle())
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = edit(place.get(path[-1]) if isinstance(place, dict) else place[path[-1]])
    return json.dumps(document).encode()


def _flip(text: str) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[len(raw) // 2] ^= 1
    return base64.b64encode(raw).decode()


def _always(value: str, _: object) -> str:
    return value


def _key(**changes: Any) -> bytes:
    return dump_trust_root(replace(TRUST_ROOT, verdict_keys=(_verdict_key(**changes),)))


def _verdict_key(**changes: Any) -> VerdictKey:
    return replace(TRUST_ROOT.verdict_keys[0], **changes)


def _policy(text: str) -> bytes:
    document = json.loads(trust_root())
    document["policy"] = text
    return json.dumps(document).encode()


def _root_edit(edit: Callable[[Any], object]) -> bytes:
    document = json.loads(trust_root())
    edit(document)
    return json.dumps(document).encode()


def _refused(step: int, problem: str, data: bytes, root: bytes | None = None) -> None:
    with pytest.raises(VerificationError, match=f"^step {step}: ") as caught:
        verify_bundle(data, trust_root() if root is None else root)
    assert problem in str(caught.value)


def test_a_fresh_bundle_verifies_and_tells_what_was_found() -> None:
    found = verify_bundle(bundle(), trust_root())
    assert isinstance(found, VerifiedVerdict)
    assert (found.log_index, found.tree_size, found.key_id) == (VERDICT_INDEX, SIZE, KEY.key_id)
    assert found.witnesses == (("w1", WITNESSED_AT), ("w2", WITNESSED_AT))
    assert found.steps == STEPS
    assert len(STEPS) == 15


@pytest.mark.parametrize("index", [0, INTENT_INDEX])
def test_entries_that_are_no_verdict_verify_too(index: int) -> None:
    assert verify_bundle(small_log().bundle(index), trust_root()).log_index == index


CHANGED: list[tuple[int, str, tuple[str | int, ...], Callable[[Any], Any]]] = [
    (1, "not of type", ("mediaType",), lambda _: "application/json"),
    (2, "dsseEnvelope", ("dsseEnvelope",), lambda _: None),
    (4, "hint", ("verificationMaterial", "publicKey"), lambda _: {}),
    (4, "0 keys", ("verificationMaterial", "publicKey", "hint"), lambda _: "somebody"),
    (5, "not this key's", ("dsseEnvelope", "payload"), _flip),
    (5, "not this key's", ("dsseEnvelope", "signatures", 0, "sig"), _flip),
    (11, "there is no hash", (*PROOF, "hashes", 0), lambda _: 7),
    (11, "there is no inclusionProof.hashes", (*PROOF, "hashes"), lambda _: "x"),
    (1, "not strict JSON", ("dsseEnvelope", "payloadType"), lambda _: "\ud800"),
    (3, "payload type is", ("dsseEnvelope", "payloadType"), lambda _: "text/plain"),
    (10, "there is no canonicalizedBody", ("verificationMaterial", "tlogEntries"), lambda _: [7]),
    (12, "not a signed note", NOTE, lambda note: note.replace("\n\n", "\n\nunsigned\n")),
    (10, "tlogEntries", ("verificationMaterial", "tlogEntries"), lambda _: None),
    (10, "0 log entries", ("verificationMaterial", "tlogEntries"), lambda _: []),
    (10, "2 log entries", ("verificationMaterial", "tlogEntries"), lambda e: e + e),
    (10, "the leaf is not", (*ENTRY, "canonicalizedBody"), _flip),
    (10, "the leaf is not", (*ENTRY, "kindVersion", "version"), lambda _: "0.0.1"),
    (11, "is not below the size", (*ENTRY, "logIndex"), lambda _: "300"),
    (11, "is not below the size", (*ENTRY, "logIndex"), lambda _: "0257"),
    (11, "is not below the size", (*ENTRY, "logIndex"), lambda _: "-1"),
    (11, "there is no logIndex", (*ENTRY, "logIndex"), lambda _: 257),
    (11, "checkpoint's tree", (*ENTRY, "logIndex"), lambda _: "256"),
    (11, "checkpoint's tree", (*PROOF, "logIndex"), lambda _: "256"),
    (11, "checkpoint's tree", (*PROOF, "treeSize"), lambda _: "301"),
    (11, "checkpoint's tree", (*PROOF, "rootHash"), _flip),
    (11, "does not lead", (*PROOF, "hashes", 0), _flip),
    (11, "does not lead", (*PROOF, "hashes"), lambda hashes: hashes[:-1]),
    (11, "does not lead", (*PROOF, "hashes"), lambda hashes: [*hashes, hashes[0]]),
    (11, "does not lead", (*PROOF, "hashes"), lambda hashes: hashes[::-1]),
    (11, "does not lead", (*PROOF, "hashes", 0), lambda text: text[:4]),
    (11, "is not base64", (*PROOF, "hashes", 0), lambda _: "!"),
    (12, "checkpoint.envelope", NOTE, lambda _: None),
    (12, "not a signed note", NOTE, lambda note: note.replace("\n300\n", "\n0300\n")),
    (12, "not a signed note", NOTE, lambda note: note.replace("\n300\n", "\n+300\n")),
    (12, "not a signed note", NOTE, lambda note: note.replace("\n300\n", "\n\u0663\u0660\u0660\n")),
    (12, "not a signed note", NOTE, lambda note: "\n" + note),
    (12, "not a signed note", NOTE, lambda note: note[:-1]),
    (12, "not a signed note", NOTE, lambda note: note.replace("\n\n", "\nextension\n\n")),
    (12, "not its signature", NOTE, lambda note: note.replace(f"{ORIGIN}\n", "x.example\n", 1)),
    (12, "no log of the policy", (*ENTRY, "logId", "keyId"), _flip),
]


@pytest.mark.parametrize(("step", "problem", "path", "edit"), CHANGED)
def test_each_change_of_the_bundle_is_refused_at_its_step(
    step: int, problem: str, path: tuple[str | int, ...], edit: Callable[[Any], Any]
) -> None:
    _refused(step, problem, _edited(path, edit))


def test_every_bit_flip_of_the_proof_and_of_the_lines_that_count_is_refused() -> None:
    document = json.loads(bundle())
    proof = document["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    for number in range(len(proof["hashes"])):
        for bit in range(0, 256, 5):
            raw = int.from_bytes(base64.b64decode(proof["hashes"][number]), "big") ^ (1 << bit)
            text = base64.b64encode(raw.to_bytes(32, "big")).decode()
            _refused(
                11, "does not lead", _edited((*PROOF, "hashes", number), partial(_always, text))
            )


def test_every_changed_character_of_the_checkpoint_is_refused_but_in_lines_of_unknown_keys() -> (
    None
):
    note = json.loads(bundle())["verificationMaterial"]["tlogEntries"][0]["inclusionProof"][
        "checkpoint"
    ]["envelope"]
    pq_line = note.split("\n")[5]
    ignored = range(note.index(pq_line), note.index(pq_line) + len(pq_line) + 1)
    for position in [p for p in range(len(note)) if p not in ignored]:
        changed = note[:position] + ("A" if note[position] != "A" else "B") + note[position + 1 :]
        with pytest.raises(VerificationError):
            verify_bundle(_edited(NOTE, partial(_always, changed)), trust_root())


ROOTS: list[tuple[int, str, bytes]] = [
    (1, "not of type", _root_edit(lambda r: r.update(mediaType="x"))),
    (4, "verdictKeys", _root_edit(lambda r: r.pop("verdictKeys"))),
    (4, "2 keys", _root_edit(lambda r: r["verdictKeys"].append(r["verdictKeys"][0]))),
    (12, "policy", _root_edit(lambda r: r.pop("policy"))),
    (12, "no log of the policy", _policy(POLICY.partition("\n")[2])),
    (
        12,
        "no log",
        _policy(POLICY.replace(format_vkey(LOG_SIGNER.key), format_vkey(OTHER_LOG.key))),
    ),
    (12, "another id", _policy(POLICY.replace(f"log {ORIGIN}", "log other.example.org"))),
    (13, "that is no quorum", _policy(POLICY.replace("group two 2", "group two all"))),
    (13, "that is no quorum", _policy(POLICY.replace("quorum two", "quorum w3"))),
    (13, "names no quorum", _policy(POLICY.replace("quorum two\n", ""))),
    (13, "cannot be read", _policy(POLICY + "quorum w1\n")),
    (13, "cannot be read", _policy(POLICY.replace("quorum two", "quorum unknown"))),
    (13, "cannot be read", _policy(POLICY + "witness w1 a+b+c\n")),
    (13, "cannot be read", _policy(POLICY + "trust everybody\n")),
    (13, "no group can be", _policy(POLICY.replace("two 2", "two 0"))),
    (13, "no group can be", _policy(POLICY.replace("two 2", "two 4"))),
    (13, "no group can be", _policy(POLICY.replace("two 2", "two -1"))),
    (13, "no group can be", _policy(POLICY.replace("w1 w2 w3", "w1 w1 w3"))),
    (13, "no group can be", _policy(POLICY.replace("w1 w2 w3", "w1 w2 w4"))),
    (13, "no group can be", _policy(POLICY.replace("w1 w2 w3", "w1 w2 none"))),
    (13, "no group can be", _policy(POLICY.replace("quorum", "group again any w1\nquorum"))),
    (
        13,
        "twice",
        _policy(POLICY + f"witness w4 {format_vkey(WITNESSES[0].key)}\n"),
    ),
    (14, "counts in [258, inf)", _key(from_index=258)),
    (14, "counts in [0, 257)", _key(below_index=257)),
    (14, "no witness saw", _key(below_index=258, compromised_at="2026-01-02T03:10:00Z")),
    (15, "is for 'somebody'", _key(verifier_id="somebody")),
]


@pytest.mark.parametrize(("step", "problem", "root"), ROOTS)
def test_each_trust_root_that_does_not_fit_is_refused_at_its_step(
    step: int, problem: str, root: bytes
) -> None:
    _refused(step, problem, bundle(), root)


def test_a_key_under_the_id_of_another_is_refused() -> None:
    data = _edited(("verificationMaterial", "publicKey", "hint"), lambda _: "some id")
    root = _root_edit(lambda r: r["verdictKeys"][0].update(keyId="some id"))
    _refused(4, "another key", data, root)


@pytest.mark.parametrize("time", ["yesterday", "2026-01-02T03:10:01"])
def test_a_time_of_compromise_without_meaning_is_refused(time: str) -> None:
    def edit(root: Any) -> None:
        root["verdictKeys"][0].update(belowIndex=258, compromisedAt=time)

    _refused(14, "compromise", bundle(), _root_edit(edit))


def test_an_entry_that_a_witness_saw_before_the_compromise_counts() -> None:
    root = _key(below_index=258, compromised_at="2026-01-02T03:10:01Z")
    assert verify_bundle(bundle(), root).log_index == VERDICT_INDEX


@pytest.mark.parametrize("is_early_first", [True, False])
def test_of_two_cosignatures_of_a_witness_the_earlier_is_told_and_counts(
    is_early_first: bool,
) -> None:
    text = small_log().note(()).decode().partition("\n\n")[0] + "\n"
    early, late = (WITNESSES[0].cosign(text, WITNESSED_AT + later) for later in (-7, 600))
    lines = (early, late) if is_early_first else (late, early)
    other = WITNESSES[1].cosign(text, WITNESSED_AT + 600)
    note = small_log().note(()) + "".join((*lines, other)).encode()
    # seen seven seconds before the time at which the example's witnesses saw it
    root = _key(below_index=258, compromised_at="2026-01-02T03:10:00Z")
    verified = verify_bundle(small_log().bundle(note=note), root)
    assert sorted(time for _, time in verified.witnesses) == [WITNESSED_AT - 7, WITNESSED_AT + 600]


def test_plain_keys_of_witnesses_are_read_as_cosigners() -> None:
    plain = Ed25519NoteSigner(
        WITNESSES[0].key.name, Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
    )
    policy = POLICY.replace(format_vkey(WITNESSES[0].key), format_vkey(plain.key))
    assert len(verify_bundle(bundle(), _policy(policy)).witnesses) == 2


def test_no_quorum_asks_for_no_witness() -> None:
    alone = small_log().bundle(note=small_log().note(()))
    root = _policy(POLICY.replace("quorum two", "quorum none"))
    assert verify_bundle(alone, root).witnesses == ()
    _refused(13, "0 known witnesses", alone)


def test_groups_of_groups_and_comments_are_understood() -> None:
    text = POLICY.replace("quorum two", "  # both\ngroup all-of all two\n\nquorum\tall-of")
    assert verify_bundle(bundle(), _policy(text))


def test_a_fork_with_the_logs_own_key_is_refused_for_want_of_witnesses() -> None:
    forged = small_log().note((WITNESSES[2],))
    _refused(13, "1 known witnesses", small_log().bundle(note=forged))


def test_a_line_under_a_known_witness_name_and_another_key_does_not_count() -> None:
    _refused(
        13, "1 known", small_log().bundle(note=small_log().note((WITNESSES[0], OTHER_WITNESS)))
    )


def test_a_log_of_the_same_name_and_another_key_is_refused() -> None:
    note = sign_note(small_log().body(), [OTHER_LOG])
    _refused(12, "no log of the policy", small_log().bundle(note=note))


def test_a_verdict_must_name_an_intent_before_it() -> None:
    log = small_log()
    for intent, problem in ((None, "intent.logIndex"), (VERDICT_INDEX, "no intent before it")):
        receipt = None if intent is None else replace(log_receipt(), log_index=intent)
        verdict = example_entry(passed(), intent=receipt)
        leaves = list(log.leaf_hashes)
        leaves[VERDICT_INDEX] = verdict.leaf_hash
        changed = replace(
            log, sealed={**log.sealed, VERDICT_INDEX: verdict}, leaf_hashes=tuple(leaves)
        )
        _refused(15, problem, changed.bundle())


def log_receipt() -> Receipt:
    return Receipt(
        log_index=INTENT_INDEX, entry_digest=small_log().sealed[INTENT_INDEX].entry_digest
    )


@pytest.mark.parametrize(
    "changed",
    [
        changes.with_payload_changed,
        changes.with_signature_changed,
        changes.with_leaf_changed,
        changes.with_proof_changed,
        changes.with_index_changed,
        changes.with_checkpoint_changed,
    ],
)
def test_any_changed_byte_is_refused(changed: Callable[[], Iterator[Any]]) -> None:
    num_refused = 0
    for document in changed():
        with pytest.raises(VerificationError, match=r"^step "):
            verify_bundle(json.dumps(document).encode(), trust_root())
        num_refused += 1
    assert num_refused > 50


def test_post_quantum_keys_of_a_policy_are_passed_over_and_never_count() -> None:
    key = format_vkey(PQ_SIGNER.key)
    beside = POLICY.replace("witness w1", f"log {key}\nwitness w1", 1)
    assert verify_bundle(bundle(), _policy(beside)).log_index == VERDICT_INDEX
    as_witness = POLICY.replace("group", f"witness pq {key}\ngroup").replace(
        "quorum two", "quorum pq"
    )
    _refused(13, "2 known witnesses", bundle(), _policy(as_witness))
