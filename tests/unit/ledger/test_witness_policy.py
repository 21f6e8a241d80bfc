"""Witness policies: published cases, quorums, and each malformed line by its own text."""

from itertools import product

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.ledger.cosignatures import WitnessSigner
from audit.ledger.notes import (
    Algorithm,
    Ed25519NoteSigner,
    NoteKey,
    format_vkey,
    open_note,
    sign_note,
)
from audit.ledger.witness_policy import PolicyError, parse_policy
from tests.support.vectors import load_json


def private_key(seed: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def witness_key(seed: int) -> str:
    return format_vkey(WitnessSigner(f"w{seed}.example", private_key(seed)).key)


LOG = Ed25519NoteSigner("log.test.example", private_key(100))
LOG_KEY = format_vkey(LOG.key)
W1, W2, W3, W4, W5, W6 = map(witness_key, range(1, 7))


def test_published_policies_are_decided_as_published() -> None:
    published = load_json("tlog-policy/cases.json")
    assert (len(published["valid"]), len(published["invalid"])) == (4, 5)
    for case in published["valid"]:
        policy = parse_policy(case["policy"])
        found = [(group.threshold, len(group.members)) for group in policy.groups] or [(0, 0)]
        assert found == [(case["threshold"], case["members"])]
        names = [witness.name for witness in policy.witnesses]
        for signed in product([False, True], repeat=len(names)):
            chosen = [name for name, is_signed in zip(names, signed, strict=True) if is_signed]
            assert policy.is_met(chosen) == (len(chosen) >= case["threshold"])
    for case in published["invalid"]:
        with pytest.raises(PolicyError):
            parse_policy(case["policy"])


NESTED = f"""\
# the example of the specification
log {LOG_KEY} https://log.test.example/

\twitness X1  {W1}
  witness X2 {W2}\thttps://w2.example/
witness X3 {W3}
group X-witnesses 2 X1 X2 X3
witness Y1 {W4}
witness Y2 {W5}
witness Y3 {W6}
group Y-witnesses any Y1 Y2 Y3
   # groups of groups
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


@pytest.mark.parametrize(
    ("signed", "is_met"),
    [
        ("X1 X2 Y3", True),
        ("X1 X2 X3 Y1 Y2 Y3", True),
        ("X1 Y1 Y2 Y3", False),
        ("X1 X2 X3", False),
        ("", False),
        ("X1 X1 Y1", False),
        ("X-witnesses Y-witnesses", False),
        ("X-and-Y", False),
        ("w1.example w2.example w4.example", False),
    ],
)
def test_a_nested_quorum(signed: str, is_met: bool) -> None:
    assert parse_policy(NESTED).is_met(signed.split()) is is_met


def test_a_policy_keeps_logs_and_urls() -> None:
    policy = parse_policy(NESTED)
    assert [(log.key, log.url) for log in policy.logs] == [(LOG.key, "https://log.test.example/")]
    assert [witness.url for witness in policy.witnesses] == [
        None, "https://w2.example/", None, None, None, None,
    ]  # fmt: skip
    assert policy.quorum == "X-and-Y"


def test_a_quorum_of_one_witness_and_of_none() -> None:
    policy = parse_policy(f"witness w {W1}\nquorum w\n")
    assert policy.is_met({"w"})
    assert not policy.is_met(set())
    assert parse_policy("quorum none\n").is_met(())


def test_a_plain_key_is_read_as_that_of_the_witness() -> None:
    witness = WitnessSigner("w.example", private_key(9))
    plain = NoteKey.of("w.example", Algorithm.ED25519, witness.key.public)
    (read,) = parse_policy(f"witness w {format_vkey(plain)}\nquorum w\n").witnesses
    assert read.key == witness.key
    text = "log.test.example\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    note = sign_note(text, [LOG]) + witness.cosign(text, 60).encode()
    assert len(open_note(note, [LOG.key, read.key]).verified) == 2


def test_32_logs_witnesses_and_groups_are_read() -> None:
    lines = [
        f"log {format_vkey(Ed25519NoteSigner(f'log{i}.example', private_key(100 + i)).key)}"
        for i in range(32)
    ]
    lines += [f"witness w{i} {witness_key(i)}\ngroup g{i} any w{i}" for i in range(32)]
    lines += ["group all-groups all " + " ".join(f"g{i}" for i in range(32)), "quorum all-groups\n"]
    policy = parse_policy("\n".join(lines))
    assert policy.is_met([f"w{i}" for i in range(32)])
    assert not policy.is_met([f"w{i}" for i in range(31)])


def test_names_that_look_alike_are_different_names() -> None:
    policy = parse_policy(f"witness K {W1}\nwitness \u212a {W2}\nquorum K\n")
    assert not policy.is_met({"\u212a"})


ECDSA = (
    "rekor.sigstore.dev+c0d23d6a+AjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNhtmPtrWm3U1eQXBogSMdGvXwBcK5"
    "AW5i0hrZLOC96l+smGNM7nwZ4QvFK/4sueRoVj//QP22Ni4Qt9DPfkWLc="
)
SAME_AS_W1 = format_vkey(WitnessSigner("other.example", private_key(1)).key)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("", "last line has no newline"),
        ("quorum none", "last line has no newline"),
        ("# nothing\n", "no quorum line"),
        ("quorum none\r\n", "control character"),
        ("quorum none\n# \x7f\n", "control character"),
        ("quorum none\nquorum none\n", "line 2 .*: there is a quorum already"),
        ("quorum\n", "line 1 .*: a quorum is `quorum <name>`"),
        ("quorum none # comment\n", "a quorum is `quorum <name>`"),
        ("quorum w\n", "quorum 'w' is not defined on a line above"),
        (f"quorum w\nwitness w {W1}\n", "line 1 .*: the quorum 'w' is not defined"),
        ("Quorum none\n", "'Quorum' is not log, witness, group or quorum"),
        ("quorum\u00a0none\n", "is not log, witness, group or quorum"),
        ("log\nquorum none\n", "a log is `log <vkey>"),
        (f"log {LOG_KEY} https://a b\nquorum none\n", "a log is `log <vkey>"),
        (f"log {LOG_KEY}\nlog {LOG_KEY}\nquorum none\n", "line 2 .* same key as another"),
        (f"log {W1}\nquorum none\n", "a log does not sign with type COSIGNATURE_V1"),
        (f"log {LOG_KEY[:-1]}\nquorum none\n", "line 1 .* is not base64"),
        ("witness w\nquorum none\n", "a witness is `witness <name> <vkey>"),
        (f"witness w {W1} u v\nquorum none\n", "a witness is `witness <name> <vkey>"),
        (f"witness none {W1}\nquorum none\n", "'none' is reserved"),
        (f"witness w {W1}\nwitness w {W2}\nquorum w\n", "line 2 .* 'w' is defined already"),
        (f"witness w {W1}\nwitness v {SAME_AS_W1}\nquorum w\n", "v has the same key"),
        (f"witness w {ECDSA}\nquorum w\n", "a witness does not sign with type ECDSA"),
        (f"witness w {W1}\ngroup w any w\nquorum w\n", "'w' is defined already"),
        (f"witness w {W1}\ngroup none any w\nquorum none\n", "'none' is reserved"),
        (f"witness w {W1}\ngroup g any\nquorum w\n", "a group is `group <name> all"),
        (f"witness w {W1}\ngroup g any none\nquorum w\n", "member 'none' is not defined"),
        (f"witness w {W1}\ngroup g any g\nquorum w\n", "member 'g' is not defined"),
        (f"group g any w\nwitness w {W1}\nquorum g\n", "line 1 .* member 'w' is not defined"),
        (f"witness w {W1}\ngroup g 1 w w\nquorum g\n", "'w' is a member already"),
        (
            f"witness w {W1}\ngroup g any w\ngroup h any w\nquorum g\n",
            "line 3 .*: 'w' is a member already: it would count twice",
        ),
        (f"witness w {W1}\ngroup g 0 w\nquorum g\n", "threshold '0' is not all, any or a"),
        (f"witness w {W1}\ngroup g -1 w\nquorum g\n", "threshold '-1' is not"),
        (f"witness w {W1}\ngroup g 01 w\nquorum g\n", "threshold '01' is not"),
        (f"witness w {W1}\ngroup g \u0661 w\nquorum g\n", "threshold '\u0661' is not"),
        (f"witness w {W1}\ngroup g 2 w\nquorum g\n", "threshold 2 is above the 1 members"),
        ("# " + "a" * 1_000_000 + "\n", "more than 1000000 characters"),
    ],
)
def test_malformed_policies_are_refused(policy: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        parse_policy(policy)
