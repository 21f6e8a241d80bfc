"""The log's own keys: Ed25519 for checkpoints, and on request ML-DSA-44 beside it.

Never the verdict key: one key has one role. The public half is a C2SP vkey, which names the log.
"""

import re
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from audit.errors import ConfigurationError
from audit.ledger.issuer import LogIdentity
from audit.ledger.key_files import load_or_create_private
from audit.ledger.notes import Ed25519NoteSigner, MlDsa44NoteSigner, NoteSigner

_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))+")


def open_identity(origin: str, path: Path, *, is_post_quantum: bool) -> LogIdentity:
    """Return the log's name and signers; keys are made at the first start.

    The ML-DSA-44 key lies beside the other, as `<name>.mldsa44.pem`. Raises: ConfigurationError.
    """
    if not _HOST_NAME.fullmatch(origin) or len(origin) > 253:
        raise ConfigurationError(
            f"the log's origin {origin!r} must be a bare host name in lower case, such as "
            "log2026-1.verdicts.example.org: Sigstore's verifiers compare it with a host name"
        )
    private_key = load_or_create_private(path, Ed25519PrivateKey.generate)
    if not isinstance(private_key, Ed25519PrivateKey):
        raise ConfigurationError(f"{path} is not an Ed25519 key: name another file")
    signers: list[NoteSigner] = [Ed25519NoteSigner(origin, private_key)]
    if is_post_quantum:
        beside = path.with_name(f"{path.stem}.mldsa44.pem")
        second = load_or_create_private(beside, MLDSA44PrivateKey.generate)
        if not isinstance(second, MLDSA44PrivateKey):
            raise ConfigurationError(f"{beside} is not an ML-DSA-44 key: move it away")
        signers.append(MlDsa44NoteSigner(origin, second))
    return LogIdentity(origin=origin, signers=tuple(signers))
