"""A verdict log over its whole life, with real processes of service and witnesses.

The log is begun without witnesses, gets two of them, changes its key, revokes the old one and
erases content; it is the same log all the while, so that each part goes on from the one before.
"""

import base64
import copy
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.log_world import (
    ORIGIN,
    WITNESSES,
    World,
    await_end,
    await_witnessed,
    witness_process,
)
from tests.integration.processes import JsonLine, ServeProcess
from tests.integration.processes import run as run_process
from tests.unit.cli.command import run


@dataclass(slots=True)
class Witnessed:
    """What was kept of the log's first day."""

    world: World
    log_key: str
    early: Path
    late: Path
    audits: list[str]
    bundles: list[Path]
    fetched_root: Path
    trust_root: Path
    entries: list[JsonLine]
    said: dict[str, str] = field(default_factory=dict)


def told(*arguments: object) -> str:
    """Return what a command says that must succeed."""
    done = run(*arguments)
    assert done.code == 0, done.stdout + done.stderr
    return done.stdout


def bundle(process: ServeProcess, audit: str, out: Path) -> Path:
    told("log", "bundle", audit, "--out", out, "--address", process.address)
    return out


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witnessed]:
    """A log that two witnesses follow; its service is stopped, the witnesses go on."""
    world = World(tmp_path_factory.mktemp("log"))
    world.write_settings(witnessed=False)
    early = world.folder / "early.checkpoint"
    with world.served() as process:
        audits = world.submit(process, range(1))
        told("log", "checkpoint", "--out", early, "--address", process.address)
    log_key = told("keys", *world.options, "log-key").splitlines()[0]
    with ExitStack() as stack:
        machines = tmp_path_factory.mktemp("witnesses")
        announced = {
            name: stack.enter_context(witness_process(machines, name, log_key))
            for name in WITNESSES
        }
        world.write_policy(announced)
        world.write_settings(witnessed=True)
        with world.served() as process:
            audits += world.submit(process, range(1, 4))
            await_witnessed(process)
            kept = _kept(world, process, log_key, early, audits)
        yield kept


def _kept(
    world: World, process: ServeProcess, log_key: str, early: Path, audits: list[str]
) -> Witnessed:
    where = ("--address", process.address, "--log-key", log_key)
    late, fetched = world.folder / "late.checkpoint", world.folder / "fetched-root.json"
    said = {"checkpoint": told("log", "checkpoint", "--witnessed", "--out", late, *where)}
    said["trust-root"] = told("log", "trust-root", "--out", fetched, *where)
    said["consistency"] = told("log", "consistency", early, late, *where)
    proof = world.folder / "verdict.tlog-proof"
    proven = world.folder / "proven.json"
    said["prove"] = told(
        "log", "prove", audits[0], "--out", proven, "--tlog-proof", proof, "--witnessed", *where
    )
    listed = run("log", "entries", "--json", "--limit", "100", *where)
    return Witnessed(
        world=world,
        log_key=log_key,
        early=early,
        late=late,
        audits=audits,
        bundles=[bundle(process, a, world.folder / f"{n}.json") for n, a in enumerate(audits)],
        fetched_root=fetched,
        trust_root=world.trust_root("trust-root.json"),
        entries=listed.lines,
        said=said,
    )


def test_the_service_tells_of_a_checkpoint_that_both_witnesses_signed(log: Witnessed) -> None:
    assert f"{ORIGIN}: {len(log.entries)} entries" in log.said["checkpoint"]
    assert "witnessed: yes" in log.said["checkpoint"]
    assert "its signature verifies" in log.said["checkpoint"]
    signers = [line.split()[1] for line in log.late.read_text().splitlines() if line[:1] == "—"]
    # the log's Ed25519 and ML-DSA-44 lines, then the witnesses'
    assert signers == [ORIGIN, ORIGIN, *(f"{name}.witness.example" for name in WITNESSES)]


def test_the_log_has_only_grown_between_two_kept_checkpoints(log: Witnessed) -> None:
    assert log.said["consistency"].endswith("proof and signature verify\n")
    assert f"{len(log.entries)} entries" in log.said["consistency"]
    assert "proof and signature verify" in log.said["prove"]


def test_service_and_operator_give_the_same_trust_root(log: Witnessed) -> None:
    assert log.fetched_root.read_bytes() == log.trust_root.read_bytes()
    assert log.log_key in json.loads(log.trust_root.read_bytes())["policy"]
    proven = log.world.folder / "proven.json"
    assert run("verify", proven, "--trust-root", log.trust_root).code == 0


def test_every_verdict_verifies_in_numbered_steps_with_its_witnesses(log: Witnessed) -> None:
    first, *others = log.bundles
    verified = [run_process("verify", first, "--trust-root", log.trust_root)]
    verified += [run("verify", path, "--trust-root", log.trust_root) for path in others]
    for done in verified:
        assert done.code == 0, done.stderr
        numbers = [line.split(".")[0].strip() for line in done.stdout.splitlines()]
        num_steps = sum(number.isdecimal() for number in numbers)
        assert numbers[:num_steps] == [str(n) for n in range(1, num_steps + 1)]
        assert num_steps >= 5, done.stdout
        assert "the verdict is PASSED" in done.stdout
        for name in WITNESSES:
            assert f"witness {name} cosigned at 20" in done.stdout


def test_every_verdict_names_its_intent(log: Witnessed) -> None:
    by_key = {entry["entry_key"]: entry for entry in log.entries}
    assert all(entry["is_proof_checked"] for entry in log.entries)
    for audit, path in zip(log.audits, log.bundles, strict=True):
        envelope = json.loads(path.read_bytes())["dsseEnvelope"]
        predicate = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
        intent = by_key[f"intent:{audit}"]
        digest = str(intent["entry_digest"]).removeprefix("sha256:")
        assert predicate["intent"] == {
            "logIndex": intent["log_index"],
            "digest": {"sha256": digest},
        }
        assert intent["log_index"] < by_key[f"verdict:{audit}"]["log_index"]


def _flipped(encoded: str, place: int) -> str:
    data = bytearray(base64.b64decode(encoded))
    data[place] ^= 1
    return base64.b64encode(data).decode("ascii")


def _change_payload(found: Any) -> None:
    found["dsseEnvelope"]["payload"] = _flipped(found["dsseEnvelope"]["payload"], 40)


def _change_signature(found: Any) -> None:
    (signature,) = found["dsseEnvelope"]["signatures"]
    signature["sig"] = _flipped(signature["sig"], 20)


def _tlog(found: Any) -> Any:
    (entry,) = found["verificationMaterial"]["tlogEntries"]
    return entry


def _change_leaf(found: Any) -> None:
    _tlog(found)["canonicalizedBody"] = _flipped(_tlog(found)["canonicalizedBody"], 60)


def _change_proof(found: Any) -> None:
    hashes = _tlog(found)["inclusionProof"]["hashes"]
    hashes[-1] = _flipped(hashes[-1], 31)


def _change_note(found: Any, prefix: str, place: int) -> None:
    checkpoint = _tlog(found)["inclusionProof"]["checkpoint"]
    changed = [
        f"{line[: line.rfind(' ') + 1]}{_flipped(line.split(' ')[-1], place)}"
        if line.startswith(prefix)
        else line
        for line in checkpoint["envelope"].split("\n")
    ]
    assert "\n".join(changed) != checkpoint["envelope"]
    checkpoint["envelope"] = "\n".join(changed)


def _change_root(found: Any) -> None:
    checkpoint = _tlog(found)["inclusionProof"]["checkpoint"]
    before = checkpoint["envelope"].split("\n")
    before[2] = _flipped(before[2], 5)
    checkpoint["envelope"] = "\n".join(before)


CHANGES: dict[str, Callable[[Any], None]] = {
    "payload": _change_payload,
    "signature": _change_signature,
    "leaf": _change_leaf,
    "proof": _change_proof,
    "checkpoint-root": _change_root,
    "log-signature": lambda found: _change_note(found, f"— {ORIGIN}", 30),
    "witness-signature": lambda found: _change_note(found, "— w2.witness.example", 30),
    "witness-time": lambda found: _change_note(found, "— w1.witness.example", 11),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_one_changed_byte_is_refused(
    change: Callable[[Any], None], log: Witnessed, tmp_path: Path
) -> None:
    good = json.loads(log.bundles[1].read_bytes())
    changed = copy.deepcopy(good)
    change(changed)
    assert changed != good
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(changed))
    done = run("verify", path, "--trust-root", log.trust_root)
    assert done.code == 1, done.stdout
    assert "step " in done.stderr


def test_the_stopped_log_is_sound(log: Witnessed) -> None:
    found = log.world.fsck()
    assert (found["num_entries"], found["num_erased"]) == (len(log.entries), 0)


@dataclass(slots=True)
class Rotated:
    """The same log one day later, under its second key."""

    log: Witnessed
    yesterday: Path
    old_key: Path
    audit: str
    bundle: Path


@pytest.fixture(scope="module")
def rotated(log: Witnessed, tmp_path_factory: pytest.TempPathFactory) -> Rotated:
    world, old_key = log.world, log.world.key
    yesterday = tmp_path_factory.mktemp("backup") / "audits.db"
    shutil.copy(world.database, yesterday)
    new_key = world.folder / "second-key.pem"
    said = told("keys", *world.options, "rotate", "--new-key", new_key)
    assert "introduces the key" in said
    assert "retires the one before" in said
    world.key = new_key
    with world.served() as process:
        (audit,) = world.submit(process, range(4, 5))
        await_witnessed(process)
        kept = bundle(process, audit, world.folder / "rotated.json")
    return Rotated(log=log, yesterday=yesterday, old_key=old_key, audit=audit, bundle=kept)


def test_after_a_rotation_old_and_new_verdicts_verify(rotated: Rotated) -> None:
    root = rotated.log.world.trust_root("rotated-root.json")
    for path in (*rotated.log.bundles, rotated.bundle):
        assert run("verify", path, "--trust-root", root).code == 0
    before = run("verify", rotated.bundle, "--trust-root", rotated.log.trust_root)
    assert before.code == 1
    assert "key" in before.stderr


def test_a_service_with_the_retired_key_is_refused_with_advice(rotated: Rotated) -> None:
    world = World(rotated.log.world.folder)
    assert world.key == rotated.old_key
    done = world.refused_start()
    assert done.code == 64, done.stderr
    assert "does not know the verdict key" in done.stderr
    assert "inference-audit keys rotate" in done.stderr


def test_a_restored_database_is_refused_and_not_adopted(rotated: Rotated, tmp_path: Path) -> None:
    world = rotated.log.world.copy(tmp_path / "restored")
    world.key = world.folder / rotated.old_key.name
    _restore(world, rotated)
    done = world.refused_start()
    assert done.code == 69, done.stderr
    assert "restored from an older copy" in done.stderr
    adopted = run("upkeep", *world.options, "adopt")
    assert adopted.code == 64
    assert "an anchor is only made anew where it was lost" in adopted.stderr


def _restore(world: World, rotated: Rotated) -> None:
    for path in world.folder.glob("audits.db*"):
        path.unlink()
    shutil.copy(rotated.yesterday, world.database)


@pytest.mark.parametrize("num_unseen", [0, 6], ids=["behind-the-witnesses", "beyond-them"])
def test_witnesses_stop_a_fork_that_was_adopted(
    num_unseen: int, rotated: Rotated, tmp_path: Path
) -> None:
    world = rotated.log.world.copy(tmp_path / "fork")
    world.key = world.folder / rotated.old_key.name
    _restore(world, rotated)
    (world.folder / "log-anchor").unlink()
    missing = world.refused_start()
    assert missing.code == 69
    assert "inference-audit upkeep adopt" in missing.stderr
    told("upkeep", *world.options, "adopt")
    if num_unseen:
        # as a service whose operator keeps it from the witnesses until it is the longer one
        world.write_settings(witnessed=False)
        with world.served() as process:
            world.submit(process, range(10, 10 + num_unseen))
        world.write_settings(witnessed=True)
    with world.served(stops=False) as process:
        _submit_until_it_ends(world, process)
        assert await_end(process) == 69
        said = process.stderr
        assert "LogForked: witnesses have seen another history of this log" in said
        # 409 where a witness is ahead of the fork, 422 where the fork's proof leads elsewhere
        answers = ["answered 422"] if num_unseen else ["has seen", "answered 422"]
        assert any(answer in said for answer in answers), said


def _submit_until_it_ends(world: World, process: ServeProcess) -> None:
    # the witnesses are asked beside the audits: the next one after their answer ends the service
    for number in range(20, 40):
        if process.is_running:
            world.try_submit(process, range(number, number + 1))


@dataclass(slots=True)
class Revoked:
    """The same log once the first key counts up to its second verdict only."""

    rotated: Rotated
    trust_root: Path


@pytest.fixture(scope="module")
def revoked(rotated: Rotated) -> Revoked:
    world, log = rotated.log.world, rotated.log
    shown = run("keys", *world.options, "show", "--json").lines
    old, new = shown
    assert (old["is_current"], new["is_current"]) == (False, True)
    verdicts = {e["entry_key"]: e["log_index"] for e in log.entries}
    below = verdicts[f"verdict:{log.audits[1]}"]
    in_use = run("keys", *world.options, "revoke", new["key_id"], "--below", below)
    assert in_use.code == 64
    assert "this is the key in use" in in_use.stderr
    told("keys", *world.options, "revoke", old["key_id"], "--below", below, "--reason", "stolen")
    return Revoked(rotated=rotated, trust_root=world.trust_root("revoked-root.json"))


def test_a_revoked_key_counts_below_the_index_only(revoked: Revoked) -> None:
    log = revoked.rotated.log
    first, *others = [run("verify", b, "--trust-root", revoked.trust_root) for b in log.bundles]
    assert first.code == 0, first.stderr
    for done in others:
        assert done.code == 1
        assert "the key counts in [0, " in done.stderr
    assert run("verify", revoked.rotated.bundle, "--trust-root", revoked.trust_root).code == 0


def test_erased_content_is_gone_and_the_log_stays_whole(revoked: Revoked) -> None:
    rotated, log, world = revoked.rotated, revoked.rotated.log, revoked.rotated.log.world
    before = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    (erased,) = run("upkeep", *world.options, "erase", "--before", before, "--json").lines
    # an intent and a verdict of each audit
    assert erased["num_entries"] == 2 * (len(log.audits) + 1)
    found = world.fsck()
    assert found["num_erased"] == erased["num_entries"]
    proof = world.folder / "erased.tlog-proof"
    with world.served() as process:
        where = ("--address", process.address, "--log-key", log.log_key)
        gone = run("log", "bundle", rotated.audit, "--out", world.folder / "gone.json", *where)
        assert gone.code == 66, gone.stdout
        assert "erased" in gone.stderr
        said = told("log", "prove", rotated.audit, "--tlog-proof", proof, *where)
        assert "proof and signature verify" in said
        told("log", "consistency", log.early, *where)
        listed = run("log", "entries", "--json", "--limit", "100", *where).lines
    assert sum(e["erased_at"] is not None for e in listed) == erased["num_entries"]
    assert all(e["is_proof_checked"] for e in listed)
    assert b"PASSED" not in world.database.read_bytes()
    assert run("verify", rotated.bundle, "--trust-root", revoked.trust_root).code == 0
