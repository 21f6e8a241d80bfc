"""Honest bundles are named by their content, refused when damaged, and check themselves."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from audit.errors import CalibrationError
from audit.sweep_records import AnswerStatus, Endpoint, ProbeAnswer, Probed, Reading
from audit.sweeps.bundle import HeldOut, HonestBundle, load_bundle, save_bundle, seal_bundle
from audit.sweeps.detector import Detector, HonestAnswers, Section, Tools
from audit.sweeps.honest import measure
from audit.sweeps.policy import load_sweep_policy
from audit.sweeps.registry import DetectorKind
from tests.unit.sweeps.small_run import SEED, ParityDetector, endpoint

POLICY = load_sweep_policy()
ID = "border-greedy/1"


def bundle() -> HonestBundle:
    return seal_bundle(
        created_at="2026-11-11T00:00:00.000000Z",
        model_digest="sha256:" + "ab" * 32,
        precision="bfloat16",
        error=0.0025,
        variants=("batch-1", "batch-8"),
        sections={ID: {"format": 1, "rates": [0.01, 0.02]}, "text-mmd/1": {}},
        disabled={"text-mmd/1": "honest variants differ"},
        held_out=(HeldOut(detector=ID, variant="batch-1", num_sweeps=12, num_alarms=0),),
    )


def test_a_bundle_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "bundle.json"
    save_bundle(bundle(), path)
    assert load_bundle(path) == bundle()


def test_a_disabled_detector_has_no_section() -> None:
    assert bundle().section(ID) is not None
    assert bundle().section("text-mmd/1") is None
    assert bundle().section("replay/1") is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("0.02", "0.03"), "was changed after it was made"),
        (('"batch-8"', '"batch-9"'), "was changed after it was made"),
        (("honest-bundle/v1", "honest-bundle/v7"), "is no honest bundle"),
        (('"sections"', '"parts"'), "is damaged"),
        (('"num_alarms"', '"alarms"'), "is damaged"),
        (('"error":0.0025', '"error":"x"'), "is damaged"),
        (("{", "["), "is not JSON"),
    ],
)
def test_a_damaged_bundle_is_refused(change: tuple[str, str], says: str, tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    save_bundle(bundle(), path)
    text = path.read_text(encoding="utf-8")
    assert change[0] in text
    path.write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(CalibrationError, match=says):
        load_bundle(path)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="cannot read"):
        load_bundle(tmp_path / "none.json")
    (tmp_path / "list.json").write_text(json.dumps([1]), encoding="utf-8")
    with pytest.raises(CalibrationError, match="is not a JSON object"):
        load_bundle(tmp_path / "list.json")


class Rates:
    """Counts how often variants answer something else; refuses fewer than ten answers."""

    def fit(self, honest: HonestAnswers, *, error: float) -> Section:
        if any(len(probed) < 10 for probed in honest.values()):
            raise CalibrationError("ten answers of each variant are needed")
        return {"rate": max(_rate(probed) for probed in honest.values())}


class Strict(ParityDetector):
    """Accuses whoever answers something else more often than the section's rate."""

    def __init__(self, tools: object, section: Section | None) -> None:
        super().__init__(ID)
        self._section = section

    def read(self, endpoint: Endpoint, probed: Sequence[Probed]) -> Reading:
        reading = super().read(endpoint, probed)
        allowed = 0.0 if self._section is None else float(str(self._section["rate"]))
        return reading if _rate(probed) > allowed else _quiet(reading)


def _quiet(reading: Reading) -> Reading:
    from dataclasses import replace

    return replace(reading, log_e_nats_N=(0.0,) * len(reading.log_e_nats_N))


def _rate(probed: Sequence[Probed]) -> float:
    return sum(p.answer.text != "A" for p in probed) / len(probed)


def build(tools: Tools, section: Section | None) -> Detector:
    return Strict(tools, section)


KIND = DetectorKind(detector_id=ID, build=build, calibrator=lambda tools, attacks: Rates())


def answers(num: int, every: int | None) -> list[Probed]:
    """Return answers of which each so-manieth is another one."""
    probes = ParityDetector(ID).plan(endpoint(), SEED, 200)
    return [
        Probed(
            probe=probes[n % 200],
            answer=ProbeAnswer(
                status=AnswerStatus.ANSWERED,
                text="B" if every is not None and n % every == 0 else "A",
            ),
        )
        for n in range(num)
    ]


def measured(honest: HonestAnswers) -> tuple[dict[str, str], int]:
    # a detector of this kind uses no tools
    found = measure({ID: KIND}, {ID: honest}, {}, endpoint(), None, POLICY)  # type: ignore[arg-type]
    return dict(found.disabled), sum(row.num_alarms for row in found.held_out)


def test_variants_that_are_alike_leave_a_detector_enabled() -> None:
    disabled, num_alarms = measured({"a": answers(480, None), "b": answers(480, None)})
    assert (disabled, num_alarms) == ({}, 0)


def test_a_variant_unlike_the_others_disables_the_detector() -> None:
    disabled, num_alarms = measured({"a": answers(480, None), "odd": answers(480, 4)})
    assert num_alarms == 3
    assert "odd raised 3 alarms in 3 sweeps" in disabled[ID]


def test_too_few_answers_disable_the_detector_with_the_reason() -> None:
    disabled, _ = measured({"a": answers(5, None), "b": answers(480, None)})
    assert disabled[ID] == "ten answers of each variant are needed"
