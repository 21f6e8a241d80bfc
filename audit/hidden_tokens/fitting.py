"""Makes a billing calibration from honest requests: trusted runs, or direct first-party calls.

Requests are split by question, so that no law is calibrated on a question that it was fitted on.
Every step is reproducible: the same requests and salt give the same bytes.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from audit.billing_records import BilledRequest, Unchecked
from audit.errors import CalibrationError
from audit.hidden_tokens.calibration_file import BillingCalibration
from audit.hidden_tokens.estimator.cells import EstimatorRow, prompt_group, row_of_request
from audit.hidden_tokens.estimator.core import EstimatorCore
from audit.hidden_tokens.estimator.predict import Estimator
from audit.hidden_tokens.estimator.training import calibrate_estimator
from audit.hidden_tokens.opaque import OpaqueLaws
from audit.hidden_tokens.opaque_evidence import OpaqueSample, opaque_samples
from audit.hidden_tokens.opaque_fit import fit_opaque_laws
from audit.hidden_tokens.reference_sampling import RankChannel
from audit.hidden_tokens.timing import SpeedLaws
from audit.hidden_tokens.timing_evidence import TimedSample, timed_sample
from audit.hidden_tokens.timing_fit import fit_speed_laws

Item = TypeVar("Item")


def estimator_rows(requests: Iterable[BilledRequest]) -> list[EstimatorRow]:
    """Return the rows of requests with domain, prompt and answer; others teach nothing."""
    return [
        row_of_request(request, request.domain)
        for request in requests
        if request.domain is not None and request.prompt is not None and request.answer is not None
    ]


def calibrate_billing(
    requests: Sequence[BilledRequest],
    *,
    core: EstimatorCore | None = None,
    salt: str,
    sources: Mapping[str, str],
) -> tuple[BillingCalibration, tuple[str, ...]]:
    """Return the calibration, and in plain words what could not be calibrated.

    The learned estimator is calibrated on all of the requests, which must be none that `core`
    learned from; time and sizes are fitted on one half of the questions and calibrated on the
    other. Raises: CalibrationError where nothing at all can be calibrated, or `core` has seen the
    questions; ConfigurationError.
    """
    notes: list[str] = []
    calibration = BillingCalibration(
        rank=RankChannel(salt=salt),
        timing=_speed_laws(requests, salt, notes),
        opaque=_opaque_laws(requests, salt, notes),
        estimator=_estimator(core, requests, notes),
        sources=dict(sources),
    )
    found = (calibration.timing, calibration.opaque, calibration.estimator)
    if all(law is None for law in found):
        raise CalibrationError("nothing could be calibrated: " + "; ".join(notes))
    return calibration, tuple(notes)


def _speed_laws(requests: Sequence[BilledRequest], salt: str, notes: list[str]) -> SpeedLaws | None:
    halves = _halves(requests, salt)
    timed = [list(map(_timed, half)) for half in halves]
    fitted, held = ([one for one in half if one is not None] for half in timed)
    try:
        return fit_speed_laws(fitted, held)
    except CalibrationError as error:
        notes.append(f"time: {error}")
        return None


def _opaque_laws(
    requests: Sequence[BilledRequest], salt: str, notes: list[str]
) -> OpaqueLaws | None:
    fitted, held = ([s for one in half for s in _sized(one)] for half in _halves(requests, salt))
    try:
        return fit_opaque_laws(fitted, held)
    except CalibrationError as error:
        notes.append(f"sizes: {error}")
        return None


def _estimator(
    core: EstimatorCore | None, requests: Sequence[BilledRequest], notes: list[str]
) -> Estimator | None:
    if core is None:
        notes.append("text: no trained estimator was named (`inference-audit tokens train`)")
        return None
    return calibrate_estimator(core, estimator_rows(requests))


def _timed(request: BilledRequest) -> TimedSample | None:
    sample = timed_sample(request, request.domain or "")
    return None if isinstance(sample, Unchecked) else sample


def _sized(request: BilledRequest) -> tuple[OpaqueSample, ...]:
    samples = opaque_samples(request)
    return () if isinstance(samples, Unchecked) else samples


def _halves(
    requests: Sequence[BilledRequest], salt: str
) -> tuple[list[BilledRequest], list[BilledRequest]]:
    halves: tuple[list[BilledRequest], list[BilledRequest]] = ([], [])
    for request in requests:
        # without a prompt each request is a question of its own
        question = request.request_id if request.prompt is None else prompt_group(request.prompt)
        digest = hashlib.sha256(f"{salt}:{question}".encode("utf-8", "surrogatepass")).digest()
        halves[digest[0] & 1].append(request)
    return halves
