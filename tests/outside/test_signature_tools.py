"""openssl, securesystemslib and in-toto-attestation: signature and statement, not the log.

openssl and securesystemslib look at payload and signature only; in-toto-attestation looks at the
statement's form only, and would take any payload of that form.
"""

import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf.json_format import ParseDict
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

from audit.cli.root import run
from tests.golden.ledger.examples import KEY
from tests.outside import changes

CHANGED = [changes.with_payload_changed, changes.with_signature_changed]


def _library_accepts(bundle: Any) -> bool:
    envelope = Envelope.from_dict(bundle["dsseEnvelope"])
    key = SSlibKey.from_crypto(load_pem_public_key(KEY.public_key_pem), keyid=KEY.key_id)
    try:
        return set(envelope.verify([key], 1)) == {KEY.key_id}
    except (VerificationError, UnverifiedSignatureError):
        return False


def test_securesystemslib_accepts_a_fresh_verdict() -> None:
    assert _library_accepts(changes.fresh())


@pytest.mark.parametrize("changed", CHANGED)
def test_securesystemslib_refuses_any_changed_byte(changed: Callable[[], Iterator[Any]]) -> None:
    assert not any(_library_accepts(bundle) for bundle in changed())


@pytest.fixture
def openssl(tmp_path: Path) -> Callable[[Any], str]:
    tool = shutil.which("openssl")
    if tool is None:
        pytest.skip("openssl is not installed: install it to check signatures with a foreign tool")
    pub, pae, sig = (tmp_path / name for name in ("verdict.pub", "verdict.pae", "verdict.sig"))
    pub.write_bytes(KEY.public_key_pem)

    def check(bundle: Any) -> str:
        # The very commands that the help of `verify` names.
        file = tmp_path / "envelope.json"
        file.write_text(json.dumps(bundle["dsseEnvelope"]), encoding="utf-8")
        run(["verify", str(file), "--key", str(pub), "--pae", str(pae), "--sig", str(sig)])
        command = [tool, "dgst", "-sha256", "-verify", str(pub), "-signature", str(sig), str(pae)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    return check


def test_openssl_accepts_a_fresh_verdict(openssl: Callable[[Any], str]) -> None:
    assert openssl(changes.fresh()) == "Verified OK"


@pytest.mark.parametrize("changed", CHANGED)
def test_openssl_refuses_changed_bytes(
    openssl: Callable[[Any], str], changed: Callable[[], Iterator[Any]]
) -> None:
    # Each costs a process: every 97th byte of the payload, every 9th of the signature.
    step = 97 if changed is changes.with_payload_changed else 9
    answers = {openssl(bundle) for bundle in islice(changed(), 0, None, step)}
    assert "Verified OK" not in answers


def test_in_toto_attestation_accepts_the_statement() -> None:
    module = pytest.importorskip(
        "in_toto_attestation.v1.statement",
        reason="in-toto-attestation is not installed: pip install 'inference-audit[verifiers]'",
    )
    payload = json.loads(base64.b64decode(changes.fresh()["dsseEnvelope"]["payload"]))
    message = ParseDict(payload, module.spb.Statement())
    statement = module.Statement.copy_from_pb(message)
    statement.validate()
    del message.subject[:]
    with pytest.raises(ValueError, match="subject"):
        module.Statement.copy_from_pb(message).validate()
