"""Where things lie in an evidence pack.

README.txt                  how to check it
pack.json                   what it is about
trust_root.json             the keys that the report relies on
checkpoints/{first,last}.txt, checkpoints/consistency.txt
checkpoints/seen-<size>.txt what witnesses saw before a key was compromised, and the proof
checkpoints/seen-<size>-consistency.txt
timestamps.json             RFC 3161 responses over the last checkpoint
tile/<level>/<index>        hashes of the tree (C2SP tlog-tiles), enough for every entry's proof
entries/<n>.jsonl           one line for each index: its leaf, and what the log states of it
envelopes/<n>.intoto.jsonl  signed statements, in index order
artifacts/<sha256>          evidence per token of the chosen exchanges
report/<file>               the report as it was rendered
"""

import base64
import zipfile
from collections.abc import Iterable

from audit.reports.records import LogIdentity

PACK_FILE = "evidence-pack.zip"
PACK_TYPE = "application/vnd.inference-audit.evidence-pack.v1+zip"

README = "README.txt"
PACK = "pack.json"
TRUST_ROOT = "trust_root.json"
FIRST = "checkpoints/first.txt"
LAST = "checkpoints/last.txt"
CONSISTENCY = "checkpoints/consistency.txt"
TIMESTAMPS = "timestamps.json"
ARTIFACTS = "artifacts/"
REPORT = "report/"
TILES = "tile/"

#: Entries that share a member; a multiple of the width of a tile.
ENTRIES_PER_CHUNK = 16_384

#: The earliest that a zip can state: no clock is in a pack.
_NO_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_READABLE = 0o100644 << 16


def seen_name(size: int) -> str:
    """Return the member of a checkpoint that witnesses saw before a key was compromised."""
    return f"checkpoints/seen-{size}.txt"


def seen_proof_name(size: int) -> str:
    """Return the member with the proof from that checkpoint to the last."""
    return f"checkpoints/seen-{size}-consistency.txt"


def proof_text(nodes: Iterable[str]) -> bytes:
    """Return a proof's member, from its hashes in hex: base64, a line each."""
    return b"".join(base64.b64encode(bytes.fromhex(node)) + b"\n" for node in nodes)


def seen_members(log: LogIdentity) -> dict[str, bytes]:
    """Return the members for the sightings of a report, by name."""
    members: dict[str, bytes] = {}
    for line in log.sightings:
        size = line.checkpoint.size
        members[seen_name(size)] = line.checkpoint.note.encode("utf-8")
        # the first checkpoint's proof is there already, the last one needs none
        if size not in (log.first.size, log.last.size):
            members[seen_proof_name(size)] = proof_text(line.consistency)
    return members


def entries_name(chunk: int) -> str:
    """Return the member with the leaves of a chunk, counted from 0."""
    return f"entries/{chunk:06}.jsonl"


def envelopes_name(chunk: int) -> str:
    """Return the member with the envelopes of a chunk."""
    return f"envelopes/{chunk:06}.intoto.jsonl"


def artifact_name(digest: str) -> str:
    """Return the member of an artifact, by its digest `sha256:<hex>`."""
    return f"{ARTIFACTS}{digest.removeprefix('sha256:')}"


def member(name: str) -> zipfile.ZipInfo:
    """Return the header of a member; the same for the same name."""
    info = zipfile.ZipInfo(name, date_time=_NO_TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = _UNIX
    info.external_attr = _READABLE
    return info


README_TEXT = """\
This is an evidence pack of inference-audit: signed verdicts, the part of the transparency log that
holds them, and the report that was made from them.

Check it offline, with the trust root that you got from the auditor by another way than this file:

    inference-audit report verify PACK --trust-root trust_root.json

Make the report again from the evidence alone and compare the bytes:

    inference-audit report rebuild PACK --out FOLDER

Every line of envelopes/*.intoto.jsonl is a DSSE envelope with an in-toto Statement v1, signed with
ECDSA P-256 and SHA-256. Every leaf in entries/*.jsonl is a hashedrekord 0.0.2 entry over SHA-256 of
what such an envelope signs; SHA-256 of a zero byte and the leaf is its hash in the tree. The tree's
tiles are as C2SP tlog-tiles has them, the checkpoints as C2SP tlog-checkpoint.

The trust root in this pack is the one that the report was made with. It proves nothing by itself.
"""
