"""@sigstore/verify, unmodified from npm: the whole bundle, offline, but for witnesses.

It does not look at the inclusion proof's treeSize and rootHash (it takes both from the checkpoint),
at the entry's own logIndex (it takes the proof's), nor at lines of keys that it does not know.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.ledger.sigstore_root import to_sigstore_trusted_root
from tests.golden.ledger.examples import KEY, OTHER_KEY
from tests.outside import changes
from tests.unit.ledger.small_log import TRUST_ROOT

SCRIPT = Path(__file__).with_name("verify_bundles.js")
MODULES = Path(__file__).parents[2] / ".venv" / "outside" / "node_modules"


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Iterable[Any]], list[str]]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: install it to check verdicts with @sigstore/verify")
    if not (MODULES / "@sigstore" / "verify").is_dir():
        pytest.skip("@sigstore/verify is not installed: run `make outside`")
    folder = tmp_path_factory.mktemp("sigstore")
    (folder / "root.json").write_bytes(to_sigstore_trusted_root(TRUST_ROOT))
    (folder / "key.pem").write_bytes(KEY.public_key_pem)
    command = [node, str(SCRIPT), str(folder / "root.json"), str(folder / "key.pem"), KEY.key_id]

    def run(bundles: Iterable[Any]) -> list[str]:
        done = subprocess.run(
            command,
            input="\n".join(json.dumps(bundle) for bundle in bundles),
            env={**os.environ, "NODE_PATH": str(MODULES)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    return run


def test_the_installed_version_is_the_one_that_is_locked() -> None:
    package = MODULES / "@sigstore" / "verify" / "package.json"
    if not package.is_file():
        pytest.skip("@sigstore/verify is not installed: run `make outside`")
    wanted = json.loads(Path(__file__).with_name("package.json").read_text("utf-8"))
    installed = json.loads(package.read_text("utf-8"))["version"]
    assert installed == wanted["dependencies"]["@sigstore/verify"]


def test_a_fresh_verdict_is_accepted(check: Callable[[Iterable[Any]], list[str]]) -> None:
    assert check([changes.fresh()]) == ["verified"]


@pytest.mark.parametrize(
    ("changed", "codes"),
    [
        (changes.with_payload_changed, {"TLOG_BODY_ERROR", "SIGNATURE_ERROR"}),
        (changes.with_signature_changed, {"TLOG_BODY_ERROR"}),
        (changes.with_leaf_changed, {"TLOG_INCLUSION_PROOF_ERROR"}),
        (changes.with_proof_changed, {"TLOG_INCLUSION_PROOF_ERROR"}),
        (changes.with_index_changed, {"TLOG_INCLUSION_PROOF_ERROR"}),
        (changes.with_checkpoint_changed, {"TLOG_INCLUSION_PROOF_ERROR", "SyntaxError"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_any_changed_byte_is_refused(
    check: Callable[[Iterable[Any]], list[str]],
    changed: Callable[[], Iterator[Any]],
    codes: set[str],
) -> None:
    bundles = list(changed())
    answers = check(bundles)
    assert len(answers) == len(bundles) > 50
    assert {answer.partition(":")[0] for answer in answers} <= codes


def test_a_verdict_of_another_key_is_refused(check: Callable[[Iterable[Any]], list[str]]) -> None:
    bundle = changes.fresh()
    bundle["verificationMaterial"]["publicKey"]["hint"] = OTHER_KEY.key_id
    assert check([bundle])[0].startswith("PUBLIC_KEY_ERROR")
