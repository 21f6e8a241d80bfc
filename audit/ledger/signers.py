"""Who signs: a key in a file, or one that never leaves a hardware module or a key service.

A signer is opened once at start and signs one message on trial: a module that is locked, a service
that refuses or a public key of another private key must show before the log depends on it.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import Signer as LibrarySigner  # type: ignore[attr-defined]
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

from audit.errors import ConfigurationError, StorageError
from audit.ledger.keys import key_id_of, load_or_create_key, load_public_key, pem_of

#: What securesystemslib 1.6 can sign P-256 with, and the extra that each needs there.
SCHEMES = {
    "file2": "crypto",
    "hsm": "hsm",
    "awskms": "awskms",
    "gcpkms": "gcpkms",
    "azurekms": "azurekms",
}

_SCHEME = re.compile(r"([a-z][a-z0-9]+):")
_TRIAL = b"inference-audit: a signature on trial"

#: Returns a secret by the name that the back end asks for, such as `pin`.
SecretsHandler = Callable[[str], str]


class SignerUnavailable(StorageError):
    """A module or key service that could sign does not now; nothing was stored."""


class Signer(Protocol):
    """A P-256 key that signs."""

    @property
    def key_id(self) -> str:
        """Hex SHA-256 of the DER SubjectPublicKeyInfo."""
        ...

    @property
    def public_key_pem(self) -> bytes:
        """PEM SubjectPublicKeyInfo."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the ECDSA signature over SHA-256 of the message, DER encoded."""
        ...


class UriSigner:
    """A key behind one of securesystemslib's signers."""

    def __init__(self, uri: str, signer: LibrarySigner, public_key: ec.EllipticCurvePublicKey):
        self._uri = uri
        self._signer = signer
        self._public_key = public_key
        self.key_id = key_id_of(public_key)
        self.public_key_pem = pem_of(public_key)

    def sign(self, message: bytes) -> bytes:
        """Return a DER signature that was verified. Raises: SignerUnavailable, worth retrying."""
        try:
            return self.sign_on_trial(message)
        except ConfigurationError as error:
            # It could sign when it was opened: an outage, which the audit in hand waits for.
            raise SignerUnavailable(str(error)) from error

    def sign_on_trial(self, message: bytes) -> bytes:
        """Return a DER signature that was verified. Raises: ConfigurationError."""
        remedy = "see that the module or key service is reachable, unlocked and lets this user sign"
        with _back_end(f"the signer {self._uri} cannot sign", remedy):
            signature = bytes.fromhex(self._signer.sign(message).signature)
        try:
            self._public_key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise ConfigurationError(
                f"the signer {self._uri} signs with another key than the public key given: name "
                "the public key of this very key"
            ) from error
        return signature


def open_signer(
    location: str,
    *,
    public_key_pem: bytes | None = None,
    secrets_handler: SecretsHandler | None = None,
) -> Signer:
    """Return the signer of a path or URI, after one signature on trial.

    A plain path is a key file, made if it is missing (see `keys`). A URI (`file2:`, `hsm:`,
    `awskms:`, `gcpkms:`, `azurekms:`) needs the public key besides; its syntax is
    securesystemslib's. Raises: ConfigurationError.
    """
    scheme = _SCHEME.match(location)
    if scheme is None:
        return load_or_create_key(Path(location))
    if scheme.group(1) not in SCHEMES:
        raise ConfigurationError(
            f"no signer is called {scheme.group(1)!r}; known are: a path, "
            f"{', '.join(f'{name}:' for name in SCHEMES)}"
        )
    if public_key_pem is None:
        raise ConfigurationError(
            f"the signer {location} needs its public key: name the PEM file of it as well"
        )
    public_key = load_public_key(public_key_pem, f"the public key of the signer {location}")
    signer = UriSigner(
        location, _open_library_signer(location, public_key, secrets_handler), public_key
    )
    signer.sign_on_trial(_TRIAL)
    return signer


def _open_library_signer(
    uri: str, public_key: ec.EllipticCurvePublicKey, secrets_handler: SecretsHandler | None
) -> LibrarySigner:
    extra = SCHEMES[uri.partition(":")[0]]
    remedy = f"see that it exists and that `pip install 'securesystemslib[{extra}]'` was run"
    with _back_end(f"the signer {uri} cannot be opened", remedy):
        return LibrarySigner.from_priv_key_uri(
            uri, SSlibKey.from_crypto(public_key), secrets_handler
        )


@contextmanager
def _back_end(problem: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Each back end raises what its driver or service raises: securesystemslib promises no
        # common type, and none of them may end in a traceback.
        raise ConfigurationError(
            f"{problem} ({type(error).__name__}: {error}): {remedy}"
        ) from error
