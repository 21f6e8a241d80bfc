"""Which logs are trusted, and which witnesses must have cosigned (C2SP tlog-policy).

One line for each log, witness and group, and one for the quorum. Names mean nothing outside of the
file. Keys of witnesses may be written as plain Ed25519 keys (0x01); they are read as the key of
`cosignature/v1` (0x04) with the same name, which is what the public lists of witnesses mean.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from audit.errors import VerificationError
from audit.ledger.note_keys import Algorithm, NoteError, NoteKey, parse_vkey

MAX_POLICY_BYTES = 1_000_000
NONE = "none"
_LOG_TYPES = (Algorithm.ED25519, Algorithm.ML_DSA_44)
_WITNESS_TYPES = (Algorithm.COSIGNATURE_V1, Algorithm.ML_DSA_44)


class PolicyError(VerificationError):
    """A policy is malformed; the text names the line."""


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A trusted log; the key's name is the log's origin."""

    key: NoteKey
    url: str | None


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A known witness; `name` is the policy's own name for it."""

    name: str
    key: NoteKey
    url: str | None


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """A group of witnesses and groups, which counts once `threshold` of its members do."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WitnessPolicy:
    """A policy; `quorum` is the name of a witness or group, or `none`."""

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[PolicyGroup, ...]
    """Each after its members."""
    quorum: str

    def is_met(self, signed: Collection[str]) -> bool:
        """Return whether these witnesses, by the policy's names, are enough."""
        if self.quorum == NONE:
            return True
        met = {witness.name for witness in self.witnesses if witness.name in signed}
        for group in self.groups:
            if sum(member in met for member in group.members) >= group.threshold:
                met.add(group.name)
        return self.quorum in met


def parse_policy(text: str) -> WitnessPolicy:
    """Return a policy. Raises: PolicyError naming the line."""
    if len(text) > MAX_POLICY_BYTES:
        raise PolicyError(f"the policy has more than {MAX_POLICY_BYTES} characters")
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text):
        raise PolicyError("the policy has a control character: only tabs and newlines are allowed")
    if not text.endswith("\n"):
        raise PolicyError("the policy's last line has no newline: it may be cut off, or add one")
    reader = _PolicyReader()
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        words = re.split("[ \t]+", line.strip(" \t"))
        if not words[0] or words[0].startswith("#"):
            continue
        try:
            reader.read(words[0], words[1:])
        except (PolicyError, NoteError) as error:
            raise PolicyError(f"line {number} of the policy: {error}") from error
    return reader.finish()


@dataclass(slots=True)
class _PolicyReader:
    logs: list[PolicyLog] = field(default_factory=list)
    witnesses: list[PolicyWitness] = field(default_factory=list)
    groups: list[PolicyGroup] = field(default_factory=list)
    quorum: str | None = None
    names: set[str] = field(default_factory=set)
    grouped: set[str] = field(default_factory=set)

    def read(self, word: str, rest: list[str]) -> None:
        if word == "log":
            self._read_log(rest)
        elif word == "witness":
            self._read_witness(rest)
        elif word == "group":
            self._read_group(rest)
        elif word == "quorum":
            self._read_quorum(rest)
        else:
            raise PolicyError(f"{word[:40]!r} is not log, witness, group or quorum")

    def finish(self) -> WitnessPolicy:
        if self.quorum is None:
            raise PolicyError("the policy has no quorum line: add one, such as `quorum none`")
        return WitnessPolicy(
            tuple(self.logs), tuple(self.witnesses), tuple(self.groups), self.quorum
        )

    def _read_log(self, rest: list[str]) -> None:
        if not 1 <= len(rest) <= 2:
            raise PolicyError("a log is `log <vkey> [<url>]`")
        key = parse_vkey(rest[0])
        if key.algorithm not in _LOG_TYPES:
            raise PolicyError(f"a log does not sign with type {key.algorithm.name}")
        if any(log.key.public == key.public for log in self.logs):
            raise PolicyError(f"the log {key.name} has the same key as another")
        self.logs.append(PolicyLog(key, rest[1] if len(rest) == 2 else None))

    def _read_witness(self, rest: list[str]) -> None:
        if not 2 <= len(rest) <= 3:
            raise PolicyError("a witness is `witness <name> <vkey> [<url>]`")
        name = self._define(rest[0])
        key = parse_vkey(rest[1])
        if key.algorithm is Algorithm.ED25519:
            key = NoteKey.of(key.name, Algorithm.COSIGNATURE_V1, key.public)
        if key.algorithm not in _WITNESS_TYPES:
            raise PolicyError(f"a witness does not sign with type {key.algorithm.name}")
        if any(witness.key.public == key.public for witness in self.witnesses):
            raise PolicyError(f"the witness {name} has the same key as another")
        self.witnesses.append(PolicyWitness(name, key, rest[2] if len(rest) == 3 else None))

    def _read_group(self, rest: list[str]) -> None:
        if len(rest) < 3:
            raise PolicyError("a group is `group <name> all|any|<k> <member>...`")
        name, threshold, *members = rest
        for member in members:
            if member not in self.names:
                raise PolicyError(f"the member {member[:80]!r} is not defined on a line above")
            if member in self.grouped:
                raise PolicyError(f"{member[:80]!r} is a member already: it would count twice")
            self.grouped.add(member)
        count = {"all": len(members), "any": 1}.get(threshold)
        if count is None:
            if not re.fullmatch("[1-9][0-9]{0,8}", threshold):
                raise PolicyError(f"the threshold {threshold[:40]!r} is not all, any or a number")
            count = int(threshold)
        if count > len(members):
            raise PolicyError(f"the threshold {count} is above the {len(members)} members")
        self.groups.append(PolicyGroup(self._define(name), count, tuple(members)))

    def _read_quorum(self, rest: list[str]) -> None:
        if len(rest) != 1:
            raise PolicyError("a quorum is `quorum <name>`")
        if self.quorum is not None:
            raise PolicyError("there is a quorum already")
        if rest[0] != NONE and rest[0] not in self.names:
            raise PolicyError(f"the quorum {rest[0][:80]!r} is not defined on a line above")
        self.quorum = rest[0]

    def _define(self, name: str) -> str:
        if name == NONE:
            raise PolicyError("the name 'none' is reserved")
        if name in self.names:
            raise PolicyError(f"the name {name[:80]!r} is defined already")
        self.names.add(name)
        return name
