"""Finds and keeps the reference models: one for each checkpoint and precision that claims ask for.

Loading is handed in, so nothing here imports torch. A claim that no checkpoint can answer ends as
CannotJudge.
"""

from collections.abc import Callable
from pathlib import Path

from audit.config import ModelSource
from audit.errors import CannotJudge
from audit.ports import Reference
from audit.records import Claim, Reason
from reference_runner.errors import CheckpointError
from reference_runner.precision import CHECKPOINT_PRECISION, normal_precision

LoadReference = Callable[[Path, str], Reference]


class LocalLibrary:
    """Reference models from local checkpoint folders, loaded on first use and kept."""

    def __init__(
        self, models: tuple[ModelSource, ...], load: LoadReference, *, precision: str | None
    ) -> None:
        self._models = models
        self._load = load
        self._precision = precision
        self._loaded: dict[tuple[Path, str], Reference] = {}

    def open(self, claim: Claim) -> Reference:
        """Return the reference for a claim, at the claimed precision. Raises: CannotJudge."""
        source = self._find(claim)
        try:
            precision = normal_precision(self._precision or claim.precision or CHECKPOINT_PRECISION)
        except CheckpointError as error:
            raise CannotJudge(Reason.PRECISION_UNSUPPORTED, str(error)) from error
        try:
            reference = self.load(source.folder, precision)
        except CheckpointError as error:
            raise CannotJudge(Reason.MODEL_UNAVAILABLE, str(error)) from error
        digest = reference.info.model_digest
        if claim.weights_digest is not None and claim.weights_digest != digest:
            raise CannotJudge(
                Reason.WEIGHTS_DIGEST_MISMATCH,
                f"the claim names weights {claim.weights_digest}, the reference holds {digest}; "
                "audit against the "
                "checkpoint that was claimed",
            )
        return reference

    def load(self, folder: Path, precision: str) -> Reference:
        """Return a kept reference, or load it. Raises: CheckpointError."""
        key = (folder, precision)
        if key not in self._loaded:
            reference = self._load(folder, precision)
            self._loaded[key] = reference
            # a later claim of the very precision that the checkpoint is stored in finds it here
            self._loaded.setdefault((folder, reference.info.precision), reference)
        return self._loaded[key]

    def check(self) -> None:
        """Load every checkpoint once as stored, so that a bad one is found at start.

        Raises: CheckpointError.
        """
        for source in self._models:
            self.load(source.folder, self._precision or CHECKPOINT_PRECISION)

    def _find(self, claim: Claim) -> ModelSource:
        for source in self._models:
            if source.name is None or source.name == claim.model:
                return source
        if claim.model is None and len(self._models) == 1:
            return self._models[0]
        known = ", ".join(s.name for s in self._models if s.name is not None)
        raise CannotJudge(
            Reason.MODEL_UNAVAILABLE,
            f"no reference for the claimed model {claim.model!r}; this auditor holds: {known}",
        )
