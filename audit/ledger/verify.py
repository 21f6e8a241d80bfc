"""Check a signed verdict: the whole procedure, for a reader who trusts nobody.

Standard library and `cryptography` only; no network, no database, no clock, and nothing of the code
that keeps the log: tree, notes and policies are read here a second time, so that a mistake has to
be made twice. Failures name their step; `verify_envelope` knows of no log and ends with step 9.
Whether a verdict is good is another question: ask for PASSED.
"""

import base64
import hashlib
import json
import math
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from audit.errors import VerificationError

STEPS = (
    "the file is bounded in size and strict JSON of the kind that is expected",
    "the envelope has a payload and exactly one signature, in strict base64",
    "the payload type is that of in-toto",
    "the key is ECDSA P-256; for a bundle, the one key of the trust root with the id in its hint",
    "the signature is that key's, over the DSSE encoding of type and payload",
    "the payload, the very bytes that were signed, is strict JSON",
    "it is an in-toto Statement v1 about at least one subject",
    "its predicate type is ours",
    "the verdict, where it is one, is one of the known words",
    "the log's leaf, built anew from envelope and key, is the one that the bundle shows",
    "the inclusion proof leads from that leaf, at its index, to the checkpoint's root",
    "the checkpoint is well-formed, and a log of the policy signed it under its own name",
    "the policy's quorum of witnesses cosigned the checkpoint",
    "the key counts at this index, and a witness saw the entry before the key was compromised",
    "the verifier is the one that the key speaks for; a verdict names an intent before it",
)
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://inference-audit.dev/inference-verdict/v0.1"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
VERDICTS = ("PASSED", "FAILED", "INCONCLUSIVE")
TRUST_ROOT_TYPE = "application/vnd.inference-audit.trust-root.v1+json"
MAX_ENVELOPE_BYTES = 1_048_576  # no verdict comes near this

JsonObject = dict[str, object]
T = TypeVar("T")
_PublicKey = ec.EllipticCurvePublicKey | Ed25519PublicKey

_OURS = re.compile(r"https://inference-audit\.dev/[a-z-]+/v0\.1")
_NUMBER = re.compile("0|[1-9][0-9]{0,17}")
_LINE = r"\u2014 ([^\s+\x00-\x1f]+) ([A-Za-z0-9+/]+={0,2})\n"
_NOTE = re.compile(rf"(([^\s+\x00-\x1f]+)\n({_NUMBER.pattern})\n(\S+)\n)\n((?:{_LINE})+)")
_TIME = re.compile(r"([0-9]{4}(?:-[0-9]{2}){2}T[0-9]{2}(?::[0-9]{2}){2})(?:\.[0-9]+)?Z")


class VerifiedVerdict(NamedTuple):
    """A statement that was found in the log, with each check that it passed."""

    statement: JsonObject
    log_index: int
    key_id: str
    tree_size: int
    witnesses: tuple[tuple[str, int], ...]
    """Those of the policy that cosigned, by its names, and when first, in Unix seconds."""
    steps: tuple[str, ...] = STEPS


def verify_envelope(envelope: bytes, public_key_pem: bytes) -> JsonObject:
    """Return the verified statement of a DSSE envelope. Raises: VerificationError at steps 1-9."""
    return _open_envelope(_parse_object(envelope, 1, "the envelope"), public_key_pem)[0]


def verify_bundle(bundle: bytes, trust_root: bytes) -> VerifiedVerdict:
    """Return what a Sigstore bundle v0.3 proves under a trust root. Raises: VerificationError."""
    outer = _parse_object(bundle, 1, "the bundle", BUNDLE_TYPE)
    trusted = _parse_object(trust_root, 1, "the trust root", TRUST_ROOT_TYPE)
    hint = _get(outer, "verificationMaterial.publicKey.hint", str, 4)
    keys = [k for k in _get(trusted, "verdictKeys", list, 4) if _get(k, "keyId", str, 4) == hint]
    _need(len(keys) == 1, 4, f"the trust root has {len(keys)} keys {hint!r} instead of one")
    pem = _get(keys[0], "publicKeyPem", str, 4).encode("utf-8")
    statement, leaf, key_id = _open_envelope(_get(outer, "dsseEnvelope", dict, 2), pem)
    _need(key_id == hint, 4, f"the trust root shows another key under the id {hint!r}")
    entries = _get(outer, "verificationMaterial.tlogEntries", list, 10)
    _need(len(entries) == 1, 10, f"the bundle has {len(entries)} log entries instead of one")
    entry, kind = entries[0], {"kind": "hashedrekord", "version": "0.0.2"}
    shown = (_get(entry, "canonicalizedBody", bytes, 10), entry.get("kindVersion"))
    _need(shown == (leaf, kind), 10, "the leaf is not that of this envelope and key")
    text = _get(entry, "inclusionProof.checkpoint.envelope", str, 12)
    note = _NOTE.fullmatch(text) or _fail(12, "the checkpoint is not a signed note of a tree")
    index, size = _get(entry, "logIndex", str, 11), int(note[3])
    _need(_NUMBER.fullmatch(index) and int(index) < size, 11, "the log index is not below the size")
    stated = [entry["inclusionProof"].get(name) for name in ("logIndex", "treeSize", "rootHash")]
    _need(stated == [index, note[3], note[4]], 11, "the proof is not about the checkpoint's tree")
    proof = _get(entry, "inclusionProof.hashes", list, 11)
    root = _root(int(index), size, hashlib.sha256(b"\x00" + leaf).digest(), proof)
    _need(root == _decode_base64(note[4], 12), 11, "the inclusion proof does not lead to the root")
    logs, witnesses, is_quorum = _apply_policy(_get(trusted, "policy", str, 12), note)
    _need(_get(entry, "logId.keyId", bytes, 12) in logs, 12, "no log of the policy signed this")
    _need(is_quorum, 13, f"{len(witnesses)} known witnesses cosigned, and that is no quorum")
    _check_key(keys[0], int(index), min(witnesses.values(), default=math.inf))
    verifier, speaker = _get(statement, "predicate.verifier.id", str, 15), keys[0].get("verifierId")
    _need(verifier == speaker, 15, f"the verifier is {verifier!r}, the key is for {speaker!r}")
    if statement["predicateType"] == PREDICATE_TYPE:
        intent = _get(statement, "predicate.intent.logIndex", int, 15)
        _need(0 <= intent < int(index), 15, "the verdict names no intent before it")
    return VerifiedVerdict(statement, int(index), hint, size, tuple(witnesses.items()))


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding: what is signed. Its lengths count bytes."""
    type_bytes = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(type_bytes), type_bytes, len(payload), payload)


def is_signed(key: _PublicKey, signature: bytes, message: bytes) -> bool:
    """Return whether a signature is the key's: Ed25519, or DER for ECDSA over SHA-256."""
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        return True
    except InvalidSignature:
        return False


def _open_envelope(outer: JsonObject, public_key_pem: bytes) -> tuple[JsonObject, bytes, str]:
    """Return the statement, the leaf that the log must have for it, and the key's id."""
    payload, signatures = _get(outer, "payload", bytes, 2), _get(outer, "signatures", list, 2)
    _need(len(signatures) == 1, 2, "there is not exactly one signature")
    signature, kind = _get(signatures[0], "sig", bytes, 2), outer.get("payloadType")
    _need(kind == PAYLOAD_TYPE, 3, f"the payload type is {kind!r}")
    key, signed = _load_p256(public_key_pem), pae(PAYLOAD_TYPE, payload)
    # The envelope's own key id is a hint that anyone can write: it decides nothing.
    hint = _get({"keyid": "", **signatures[0]}, "keyid", str, 2)
    _need(is_signed(key, signature, signed), 5, f"the signature is not this key's (see {hint!r})")
    statement = _parse_object(payload, 6, "the payload")
    _need(statement.get("_type") == STATEMENT_TYPE, 7, "the statement type is not in-toto's")
    digests = [_get(s, "digest.sha256", str, 7) for s in _get(statement, "subject", list, 7)]
    _need(digests, 7, "there is no subject")
    kind = _get(statement, "predicateType", str, 8)
    _need(_OURS.fullmatch(kind), 8, f"the predicate type is {kind!r}, not one of ours")
    verdict = _get(statement, "predicate", dict, 9).get("verdict")
    _need(kind != PREDICATE_TYPE or verdict in VERDICTS, 9, f"the verdict is {verdict!r}")
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    parts = (hashlib.sha256(signed).digest(), signature, der)
    digest, content, raw = (base64.b64encode(part).decode("ascii") for part in parts)
    # Rekor v2's hashedrekord in RFC 8785, which for plain ASCII is: members sorted, no space.
    verifier = {"keyDetails": "PKIX_ECDSA_P256_SHA_256", "publicKey": {"rawBytes": raw}}
    record: JsonObject = {"signature": {"content": content, "verifier": verifier}}
    record["data"] = {"algorithm": "SHA2_256", "digest": digest}
    entry = {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": record}}
    leaf = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode("ascii")
    return statement, leaf, hashlib.sha256(der).hexdigest()


def _root(index: int, size: int, leaf_hash: bytes, proof: list[object]) -> bytes | None:
    """Return a tree's root by the definition of RFC 6962 §2.1; None for a proof of other length."""
    if size == 1 or not proof:
        return leaf_hash if size == 1 and not proof else None
    half, sibling = 1 << ((size - 1).bit_length() - 1), _get({"hash": proof[-1]}, "hash", bytes, 11)
    below = _root(index % half, half if index < half else size - half, leaf_hash, proof[:-1])
    if below is None or len(sibling) != 32:
        return None
    return hashlib.sha256(b"\x01" + (below + sibling if index < half else sibling + below)).digest()


def _signed_at(vkey: str, kind: int, note: re.Match[str], step: int) -> tuple[bytes, int | None]:
    """Return a policy key's full hash, and when it first signed as log (1: at 0) or witness (4)."""
    name, _, rest = vkey.partition("+")
    material, named, times = _decode_base64(rest[9:], step), name.encode() + b"\n", list[int]()
    stated = hashlib.sha256(named + material).hexdigest()[:8]
    _need(rest[:9] == stated + "+", step, f"the policy's key {vkey!r} has another id")
    # Public lists name witnesses by plain Ed25519 keys. Keys of other kinds never count here.
    is_usable = len(material) == 33 and material[0] in {1, kind}
    key_hash = hashlib.sha256(named + bytes([kind]) + material[1:]).digest()
    for who, text in re.findall(_LINE, note[5]) if is_usable else []:
        line = _decode_base64(text, 12)
        if (who, line[:4]) == (name, key_hash[:4]):
            times.append(int.from_bytes(line[4:-64], "big"))
            head = b"cosignature/v1\ntime %d\n" % times[-1] if kind == 4 else b""
            key, body = Ed25519PublicKey.from_public_bytes(material[1:]), head + note[1].encode()
            is_good = len(line) == (76 if head else 68) and is_signed(key, line[-64:], body)
            _need(is_good, step, f"the line of {name!r} is not its signature of this checkpoint")
    return key_hash, min(times, default=None)


def _apply_policy(policy: str, note: re.Match[str]) -> tuple[list[bytes], dict[str, int], bool]:
    """Return the logs and witnesses of a C2SP tlog-policy that signed, and if they are a quorum."""
    logs, witnesses, quorum = list[bytes](), dict[str, int](), list[bool]()
    known, used, keys, met = {"none"}, {"none"}, set[bytes](), {"none"}
    # Names are defined before they are used: one pass over the lines decides.
    for line in policy.split("\n"):
        match re.split(r"[ \t]+", line.strip(" \t")):
            case [word, *_] if not word or word.startswith("#"):
                continue
            case ["log", vkey, *url] if len(url) < 2:
                log_id, time = _signed_at(vkey, 1, note, 12)
                logs += [log_id] if time == 0 and vkey.startswith(f"{note[2]}+") else []
            case ["witness", name, vkey, *url] if len(url) < 2 and name not in known:
                time = _signed_at(vkey, 4, note, 13)[1]
                key = _decode_base64(vkey.split("+", 2)[-1], 13)[1:]
                _need(key not in keys, 13, f"the policy has the key of {name!r} twice")
                keys, known = keys | {key}, known | {name}
                witnesses |= {} if time is None else {name: time}
            case ["group", name, word, *members] if name not in known:
                group, k = set(members), {"any": "1", "all": str(len(members))}.get(word, word)
                is_fit = _NUMBER.fullmatch(k) and 1 <= int(k) <= len(members) == len(group)
                _need(is_fit and group <= known - used, 13, f"no group can be {line!r}")
                known, used = known | {name}, used | group
                met |= {name} if len(group & (met | witnesses.keys())) >= int(k) else set()
            case ["quorum", name] if name in known and not quorum:
                quorum = [name in met | witnesses.keys()]
            case _:
                _fail(13, f"the policy's line {line!r} cannot be read")
    _need(quorum, 13, "the policy names no quorum")
    return logs, witnesses, quorum[0]


def _check_key(key: JsonObject, index: int, seen_at: float) -> None:
    below = math.inf if key.get("belowIndex") is None else _get(key, "belowIndex", int, 14)
    first = _get(key, "fromIndex", int, 14)
    _need(first <= index < below, 14, f"the key counts in [{first}, {below}), not at {index}")
    if key.get("compromisedAt") is not None:
        limit = _TIME.fullmatch(_get(key, "compromisedAt", str, 14))
        seen = datetime.fromtimestamp(min(seen_at, 2**37), UTC).isoformat()[:19]
        _need(limit and seen < limit[1], 14, "no witness saw the entry before the key's compromise")


def _fail(step: int, problem: str) -> NoReturn:
    raise VerificationError(f"step {step}: {problem}; do not rely on this verdict")


def _need(is_met: object, step: int, problem: str) -> None:
    if not is_met:
        _fail(step, problem)


def _parse_object(text: bytes, step: int, what: str, kind: str | None = None) -> JsonObject:
    hooks: Any = {"object_pairs_hook": _once, "parse_constant": _finite, "parse_float": _finite}
    _need(len(text) <= MAX_ENVELOPE_BYTES, step, f"{what} is larger than {MAX_ENVELOPE_BYTES}")
    try:
        value = json.loads(text.decode("utf-8"), **hooks)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        _fail(step, f"{what} is not strict JSON ({error})")
    _need(isinstance(value, dict), step, f"{what} is not a JSON object")
    _need(value.get("mediaType") == kind or kind is None, step, f"{what} is not of type {kind!r}")
    return dict(value)


def _once(pairs: list[tuple[str, object]]) -> JsonObject:
    # Readers differ in which of two equal names they take: such a document has no single meaning.
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return dict(pairs)


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is not a JSON number")
    return float(text)


def _get(value: object, path: str, kind: type[T], step: int) -> T:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if kind is bytes and isinstance(value, str):
        value = _decode_base64(value, step)
    if not isinstance(value, kind) or isinstance(value, bool):
        _fail(step, f"there is no {path} of the kind {kind.__name__}")
    return value


def _decode_base64(text: str, step: int) -> bytes:
    # DSSE asks verifiers to take the standard and the URL-safe alphabet; a mixture is neither.
    altchars = b"-_" if "-" in text or "_" in text else None
    try:
        decoded = base64.b64decode(text, altchars=altchars, validate=True)
    except ValueError as error:
        _fail(step, f"{text[:40]!r} is not base64 ({error})")
    # Python ignores stray bits and text after the padding: only what encodes back was strict.
    _need(base64.b64encode(decoded, altchars) == text.encode(), step, "not canonical base64")
    return decoded


def _load_p256(pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        _fail(4, f"the public key is not a PEM public key ({error})")
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    _fail(4, "the public key is not an ECDSA P-256 key")
