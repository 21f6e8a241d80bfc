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
    """The latest of the cosignatures that make the quorum."""


class KeyRing:
    """Finds the key that counts at an index; old keys stay for the entries that they signed."""

    def __init__(self, keys: Sequence[TrustedKey], sightings: Sequence[Sighting]) -> None:
        """Trust some keys, and for entries older than a compromise what witnesses saw."""
        self._keys: dict[str, list[TrustedKey]] = {}
        for key in keys:
            self._keys.setdefault(key.key_id, []).append(key)
        self._sightings = tuple(sightings)

    def find(self, key_id: str, log_index: int) -> TrustedKey:
        """Return the key of an id, if it counts. Raises: VerificationError saying why not."""
        known = self._keys.get(key_id)
        if known is None:
            raise VerificationError(f"the trust root does not know its key {key_id}")
        for key in known:
            is_below = key.below_index is None or log_index < key.below_index
            if key.from_index <= log_index and is_below:
                self._require_seen(key, log_index)
                return key
        raise VerificationError(f"its key {key_id} does not count at this index")

    def _require_seen(self, key: TrustedKey, log_index: int) -> None:
        compromised_at = key.compromised_at
        if compromised_at is None:
            return
        if not any(
            seen.size > log_index and seen.cosigned_at < compromised_at for seen in self._sightings
        ):
            raise VerificationError(
                f"the key {key.key_id} was compromised at {compromised_at.isoformat()}, and no "
                "checkpoint of this report shows that witnesses saw the entry before"
            )
