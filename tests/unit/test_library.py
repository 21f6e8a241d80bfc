"""The library opens the checkpoint that was claimed, at the claimed precision, or says why not."""

from pathlib import Path

import pytest

from audit.config import ModelSource
from audit.errors import CannotJudge
from audit.library import LocalLibrary
from audit.ports import Reference
from audit.records import Claim, Reason
from reference_runner.errors import CheckpointError
from tests.support.fake_reference import FakeReference
from tests.support.measurements import DIGEST

FOLDER, OTHER = Path("/models/small"), Path("/models/large")


class Loader:
    """Remembers what was loaded."""

    def __init__(self, error: Exception | None = None) -> None:
        self.loaded: list[tuple[Path, str]] = []
        self._error = error

    def __call__(self, folder: Path, precision: str) -> Reference:
        self.loaded.append((folder, precision))
        if self._error is not None:
            raise self._error
        return FakeReference()


def library_of(loader: Loader, *sources: ModelSource, precision: str | None = None) -> LocalLibrary:
    return LocalLibrary(sources or (ModelSource(folder=FOLDER),), loader, precision=precision)


def refused(library: LocalLibrary, claim: Claim) -> CannotJudge:
    with pytest.raises(CannotJudge) as caught:
        library.open(claim)
    return caught.value


def test_a_model_without_name_answers_every_claim() -> None:
    library = library_of(Loader())
    for model in (None, "anything"):
        assert library.open(Claim(model=model)).info.model_digest == DIGEST


def test_named_models_answer_to_their_names_only() -> None:
    loader = Loader()
    library = library_of(
        loader, ModelSource(folder=FOLDER, name="small"), ModelSource(folder=OTHER, name="large")
    )
    library.open(Claim(model="large"))
    assert loader.loaded == [(OTHER, "auto")]
    for model in ("medium", None):
        error = refused(library, Claim(model=model))
        assert error.reason is Reason.MODEL_UNAVAILABLE
        assert "small, large" in str(error)


def test_one_named_model_answers_claims_without_a_name() -> None:
    library = library_of(Loader(), ModelSource(folder=FOLDER, name="small"))
    library.open(Claim())
    assert refused(library, Claim(model="other")).reason is Reason.MODEL_UNAVAILABLE


@pytest.mark.parametrize(
    ("override", "claimed", "loaded"),
    [
        (None, None, "auto"),
        (None, "BF16", "bfloat16"),
        ("float32", "bf16", "float32"),
        ("float32", "fp8", "float32"),
    ],
)
def test_the_precision_is_that_of_override_claim_and_checkpoint_in_this_order(
    override: str | None, claimed: str | None, loaded: str
) -> None:
    loader = Loader()
    library_of(loader, precision=override).open(Claim(precision=claimed))
    assert loader.loaded == [(FOLDER, loaded)]


@pytest.mark.parametrize("precision", ["fp8", "int4", "nf4"])
def test_a_claimed_precision_without_arithmetic_here_is_not_judged(precision: str) -> None:
    loader = Loader()
    error = refused(library_of(loader), Claim(precision=precision))
    assert error.reason is Reason.PRECISION_UNSUPPORTED and precision in str(error)
    assert loader.loaded == []


def test_other_weights_than_claimed_are_not_judged() -> None:
    library = library_of(Loader())
    library.open(Claim(weights_digest=DIGEST))
    error = refused(library, Claim(weights_digest="sha256:" + "0" * 64))
    assert error.reason is Reason.WEIGHTS_DIGEST_MISMATCH and DIGEST in str(error)


def test_a_checkpoint_that_does_not_load_is_unavailable() -> None:
    error = refused(library_of(Loader(CheckpointError("no weights"))), Claim())
    assert error.reason is Reason.MODEL_UNAVAILABLE and "no weights" in str(error)


def test_each_checkpoint_and_precision_is_loaded_once() -> None:
    loader = Loader()
    library = library_of(loader)
    for precision in ("bf16", "bfloat16", "fp32", "bf16"):
        library.open(Claim(precision=precision))
    assert loader.loaded == [(FOLDER, "bfloat16"), (FOLDER, "float32")]


def test_the_check_at_start_loads_every_checkpoint_and_raises_the_first_error() -> None:
    loader = Loader()
    library_of(loader, ModelSource(folder=FOLDER), ModelSource(folder=OTHER)).check()
    assert [folder for folder, _ in loader.loaded] == [FOLDER, OTHER]
    with pytest.raises(CheckpointError):
        library_of(Loader(CheckpointError("bad"))).check()
