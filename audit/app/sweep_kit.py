"""Builds what belongs to one sweep: its reference, substitutes, detectors and control endpoints."""

import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import cast

from audit.app.base import VERSION
from audit.config import ReplaySettings, SweepSettings
from audit.errors import CalibrationError, ConfigurationError
from audit.judge.calibration_file import load_calibration
from audit.judge.policy import load_policy
from audit.library import LocalLibrary
from audit.ports import ProbeReference
from audit.records import Claim
from audit.sweep_records import Endpoint, EndpointRole, SweepSpec
from audit.sweeps.adversaries.answering import Engine
from audit.sweeps.adversaries.server import Served
from audit.sweeps.adversaries.thread import LocalServer
from audit.sweeps.bundle import HonestBundle, load_bundle
from audit.sweeps.catalogue import (
    JudgeBasis,
    build_comparers,
    build_detectors,
    num_probes,
)
from audit.sweeps.commitment import digest_of
from audit.sweeps.detector import Tools
from audit.sweeps.policy import SweepPolicy, load_sweep_policy
from audit.sweeps.run import SweepKit, without_address
from audit.sweeps.score import Scorer
from reference_runner.errors import RunnerError

#: So much ordinary text is kept at hand; probes take windows of it.
MAX_TEXT_BYTES = 16 << 20
_MAX_FILE_BYTES = 1 << 20
_MIN_FILE_BYTES = 400

CONTROL_PROFILE = "torch-cpu-exponential"
NEGATIVE_CONTROL = "control-honest"
POSITIVE_CONTROL = "control-{}"

#: Control endpoints in the plan, by the model that answers there; empty for the claimed one.
_Models = Mapping[str, ProbeReference]


@dataclass(slots=True)
class KitBuilder:
    """Builds kits; keeps references, substitutes and texts, which many sweeps share."""

    library: LocalLibrary
    replay: ReplaySettings
    settings: SweepSettings
    policy: SweepPolicy
    _texts: tuple[str, ...] = ()
    _copies: dict[str, dict[str, ProbeReference]] = field(default_factory=dict)

    def build(self, spec: SweepSpec) -> SweepKit:
        """Return the kit of a sweep.

        Raises: ConfigurationError, CalibrationError, CannotJudge.
        """
        tools = self.tools(spec.claim)
        controls, models = self._controls(spec, tools)
        return SweepKit(
            scorer=self.scorer(spec.claim, spec.detectors),
            bundle_id=_yardstick_id(self.bundle(tools.reference), self.judge(spec.claim)),
            controls=controls,
            start_controls=_Starter(models=models).start,
        )

    def scorer(self, claim: Claim, detectors: Sequence[str]) -> Scorer:
        """Return what reads and decides; all detectors where none is named. Raises: as `build`."""
        tools, judge = self.tools(claim), self.judge(claim)
        bundle = self.bundle(tools.reference)
        return Scorer(
            detectors=build_detectors(judge, tools, bundle, detectors, self.policy),
            comparers=build_comparers(tools, bundle, detectors),
            policy=self.policy,
            num_probes=num_probes(judge, bundle, self.policy),
        )

    def tools(self, claim: Claim) -> Tools:
        """Return what detectors of a claim are built from. Raises: as `build`."""
        reference = cast("ProbeReference", self.library.open(claim))
        if not self._texts:
            self._texts = load_texts(self.settings.texts)
        return Tools(
            reference=reference,
            candidates=self._candidates(reference),
            texts=self._texts,
            power=self.policy.power,
            log_threshold_nats=self.policy.log_threshold_nats(1),
        )

    def judge(self, claim: Claim) -> JudgeBasis:
        """Return what natural tokens are judged by.

        Raises: ConfigurationError, CalibrationError.
        """
        path = self.replay.calibration
        return JudgeBasis(
            claim=claim,
            policy=load_policy(self.replay.policy),
            calibration=None if path is None else load_calibration(path),
            version=VERSION,
        )

    def bundle(self, reference: ProbeReference) -> HonestBundle:
        """Return the honest bundle of a model; an empty one where there is none.

        Raises: CalibrationError for a file that is damaged, or that is another model's.
        """
        path = self.settings.bundle
        if path is None:
            return HonestBundle()
        digest = reference.info.model_digest
        if not path.is_dir():
            bundle = load_bundle(path)
            if bundle.model_digest != digest:
                raise CalibrationError(
                    f"{path} was measured on the model {bundle.model_digest}, the sweep claims "
                    f"{digest}; make a bundle of that model with `inference-audit sweep calibrate`"
                )
            return bundle
        found = [load_bundle(file) for file in sorted(path.glob("*.json"))]
        return next((b for b in found if b.model_digest == digest), HonestBundle())

    def _candidates(self, reference: ProbeReference) -> dict[str, ProbeReference]:
        digest = f"{reference.info.model_digest} {reference.info.precision}"
        if digest not in self._copies:
            names = self.settings.candidates.split()
            try:
                self._copies[digest] = {name: reference.rounded(name) for name in names}
            except RunnerError as error:
                raise ConfigurationError(f"the setting candidates: {error}") from error
        return self._copies[digest]

    def _controls(self, spec: SweepSpec, tools: Tools) -> tuple[tuple[Endpoint, ...], _Models]:
        """Return the endpoints of known behaviour that a sweep lacks, and their models."""
        roles = {endpoint.role for endpoint in spec.endpoints}
        found: list[Endpoint] = []
        models: dict[str, ProbeReference] = {}
        if not self.settings.controls:
            return (), models
        like = next(e for e in spec.endpoints if e.role is EndpointRole.TARGET)
        if EndpointRole.NEGATIVE_CONTROL not in roles:
            found.append(_control(like, NEGATIVE_CONTROL, EndpointRole.NEGATIVE_CONTROL))
            models[NEGATIVE_CONTROL] = tools.reference
        if EndpointRole.POSITIVE_CONTROL not in roles:
            kind = self.settings.positive_control
            name = POSITIVE_CONTROL.format(kind)
            found.append(_control(like, name, EndpointRole.POSITIVE_CONTROL))
            models[name] = tools.candidates.get(kind) or self._rounded(tools.reference, kind)
        return tuple(found), models

    def _rounded(self, reference: ProbeReference, kind: str) -> ProbeReference:
        try:
            return reference.rounded(kind)
        except RunnerError as error:
            raise ConfigurationError(f"the setting positive_control: {error}") from error


@dataclass(frozen=True, slots=True)
class _Starter:
    models: _Models

    @contextmanager
    def start(self, endpoints: Sequence[Endpoint]) -> Iterator[dict[str, Endpoint]]:
        """Serve the control endpoints among these on loopback; yield them with their addresses."""
        with ExitStack() as stack:
            started = {}
            for endpoint in endpoints:
                model = self.models.get(endpoint.name)
                if model is not None:
                    served = local_endpoint(endpoint, model)
                    server = stack.enter_context(LocalServer(served))
                    started[endpoint.name] = replace(endpoint, base_url=server.base_url)
            yield started


def local_endpoint(endpoint: Endpoint, model: ProbeReference) -> Served:
    """Return a server's inside that answers as an endpoint does, from a model at hand."""
    engine = Engine(model, seed=endpoint.name.encode(), batch_size=8, profile_id=CONTROL_PROFILE)
    return Served(
        model=endpoint.model,
        behaviour=engine,
        clock_s=monotonic,
        max_positions=model.info.max_positions,
        upstream=endpoint.expected_upstream,
    )


def _yardstick_id(bundle: HonestBundle, judge: JudgeBasis) -> str:
    """Return what names all that was measured of honest endpoints: the bundle, or both digests'."""
    if judge.calibration is None:
        return bundle.bundle_id
    return digest_of([bundle.bundle_id, judge.calibration.calibration_id])


def open_builder(
    library: LocalLibrary, replay: ReplaySettings, settings: SweepSettings
) -> KitBuilder:
    """Return what builds kits. Raises: ConfigurationError."""
    return KitBuilder(
        library=library,
        replay=replay,
        settings=settings,
        policy=load_sweep_policy(settings.policy),
    )


def load_texts(folder: Path | None) -> tuple[str, ...]:
    """Return the ordinary text in a folder's files; None takes Python's standard library.

    Raises: ConfigurationError where there is none.
    """
    root = Path(sysconfig.get_path("stdlib")) if folder is None else folder
    found: list[str] = []
    num_bytes = 0
    for path in sorted(root.rglob("*.py" if folder is None else "*")):
        if num_bytes >= MAX_TEXT_BYTES:
            break
        if "site-packages" in path.parts or not path.is_file():
            continue
        text = _text_of(path)
        if text is not None:
            found.append(text)
            num_bytes += len(text)
    if not found:
        raise ConfigurationError(
            f"{root} holds no text files of {_MIN_FILE_BYTES} bytes to 1 MiB; name a folder of "
            "ordinary text, such as documents that nobody else has"
        )
    return tuple(found)


def _text_of(path: Path) -> str | None:
    try:
        if not _MIN_FILE_BYTES <= path.stat().st_size <= _MAX_FILE_BYTES:
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _control(like: Endpoint, name: str, role: EndpointRole) -> Endpoint:
    """Return a local endpoint that is asked as a target is."""
    return without_address(
        Endpoint(
            name=name,
            base_url="",
            model=like.model,
            role=role,
            expected_upstream=like.expected_upstream,
            sampler_profile=CONTROL_PROFILE,
            api=like.api,
            offers_logprobs=like.offers_logprobs,
            offers_token_ids=like.offers_token_ids,
            max_concurrency=like.max_concurrency,
        )
    )
