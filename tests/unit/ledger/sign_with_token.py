"""Makes a P-256 key in a PKCS#11 token, signs with it through `open_signer`, prints both.

Run as: python sign_with_token.py TOKEN_LABEL PIN, with PYKCS11LIB and SOFTHSM2_CONF set.
"""

import os
import sys

import pkcs11
import pkcs11.util.ec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from audit.errors import ConfigurationError
from audit.ledger.keys import pem_of
from audit.ledger.signers import open_signer


def main(label: str, pin: str) -> None:
    """Print the key id, and public key and signature in hex."""
    token = pkcs11.lib(os.environ["PYKCS11LIB"]).get_token(token_label=label)
    with token.open(user_pin=pin, rw=True) as session:
        parameters = session.create_domain_parameters(
            pkcs11.KeyType.EC,
            {pkcs11.Attribute.EC_PARAMS: pkcs11.util.ec.encode_named_curve_parameters("secp256r1")},
            local=True,
        )
        public, _ = parameters.generate_keypair(store=True, id=b"\x02", label="verdict")
        der = pkcs11.util.ec.encode_ec_public_key(public)
    public_key = load_der_public_key(der)
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise SystemExit("the token made a key of another kind")
    pem = pem_of(public_key)
    uri = f"hsm:2?label={label}"
    signer = open_signer(uri, public_key_pem=pem, secrets_handler=lambda _name: pin)
    try:
        open_signer(uri, public_key_pem=pem, secrets_handler=lambda _name: "0000")
    except ConfigurationError as error:
        if "cannot sign" not in str(error):
            raise
    else:
        raise SystemExit("a wrong PIN was taken")
    spki = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    sys.stdout.write(f"{signer.key_id} {spki.hex()}:{signer.sign(b'message').hex()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
