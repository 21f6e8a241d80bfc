"""The verdict keys of a trust root, by key id and log index."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec

from audit.errors import VerificationError


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A verdict key and the part of the log in which its signatures count."""

    key_id: str
    pem: bytes
    public_key: ec.EllipticCurvePublicKey
    verifier_id: str
    """For whom it speaks."""
    from_index: int
    below_index: int | None
    compromised_at: datetime | None
    """From then on somebody else may have had the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A checkpoint that the witnesses' quorum cosigned."""

    size: int
    cosigned_at: datetime
    """The earliest of its cosignatures, as `inference-audit verify` counts it."""


class KeyRing:
    """Finds keys and says where they count; old keys stay for the entries that they signed."""

    def __init__(self, keys: Sequence[TrustedKey], sightings: Sequence[Sighting]) -> None:
        """Trust some keys, and for entries older than a compromise what witnesses saw."""
        self._keys = {key.key_id: key for key in keys}
        self._sightings = tuple(sightings)

    def get(self, key_id: str) -> TrustedKey | None:
        """Return the key of an id, wherever it counts; None where nobody trusts it."""
        return self._keys.get(key_id)

    def find(self, key_id: str) -> TrustedKey:
        """Return the key of an id, wherever it counts. Raises: VerificationError."""
        key = self._keys.get(key_id)
        if key is None:
            raise VerificationError(f"the trust root does not know its key {key_id}")
        return key

    def doubt(self, key: TrustedKey, log_index: int) -> str | None:
        """Return why an entry does not count for its key; None where it counts."""
        is_below = key.below_index is None or log_index < key.below_index
        if not (key.from_index <= log_index and is_below):
            return f"its key {key.key_id} does not count at this index"
        compromised_at = key.compromised_at
        if compromised_at is None or any(
            # whole seconds, since witnesses' clocks know no others
            seen.size > log_index and seen.cosigned_at < compromised_at.replace(microsecond=0)
            for seen in self._sightings
        ):
            return None
        return (
            f"the key {key.key_id} was compromised at {compromised_at.isoformat()}, and no "
            "checkpoint of this report shows that witnesses saw the entry before"
        )
