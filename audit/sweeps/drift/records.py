"""What is remembered of a run to tell changes from its fellows."""

from dataclasses import dataclass

from audit.errors import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTells:
    """What one detector saw of one endpoint in one run."""

    run_id: str
    detector: str
    tells: str
    """One character a usable answer, `1` for a tell; empty where nothing usable came back."""
    honest_tell_rate: float | None = None
    statistics: tuple[tuple[str, float], ...] = ()

    @property
    def num_tells(self) -> int:
        """Return how many answers were tells."""
        return self.tells.count("1")

    @property
    def num_answers(self) -> int:
        """Return how many answers were usable."""
        return len(self.tells)


def check_tells(run: RunTells) -> None:
    """Raise InvalidRequest for tells that are no text of 0 and 1, or an impossible honest rate."""
    if set(run.tells) - {"0", "1"}:
        raise InvalidRequest.of(run.run_id, f"{run.detector}: tells must be a text of 0 and 1")
    rate = run.honest_tell_rate
    # written so that NaN fails too
    if rate is not None and not 0.0 <= rate < 1.0:
        raise InvalidRequest.of(run.run_id, f"{run.detector}: the honest rate must lie in [0, 1)")
