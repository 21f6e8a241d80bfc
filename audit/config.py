"""Settings of the auditor, complete and frozen.

The command line builds them, `audit.app` uses them.

The only module that names environment variables. Times, ids and keys are decided here and handed
down.
"""

from dataclasses import dataclass
from pathlib import Path

from audit.errors import ConfigurationError

ENV_PREFIX = "INFERENCE_AUDIT_"
DEFAULT_LISTEN = "127.0.0.1:50051"
DEFAULT_DATABASE = "sqlite:///var/inference-audit.db"
DEFAULT_KEY_PATH = Path("var/verdict-key.pem")

#: Two threads on two virtual cores are often slower than one (they may land on the same core), and
#: more threads change the order of sums, hence the last bits of evidence.
DEFAULT_NUM_THREADS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A checkpoint folder and the name under which claims know it.

    No name: whatever the claim says.
    """

    folder: Path
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """How exchanges are replayed and judged."""

    models: tuple[ModelSource, ...]
    calibration: Path | None = None
    policy: Path | None = None
    """None takes the bundled default."""
    siblings: tuple[ModelSource, ...] = ()
    """Checkpoints that a diagnosis tries."""
    diagnose: bool = False
    """Whether a FAIL is explained; takes seconds a FAIL."""
    profile: str | None = None
    precision: str | None = None
    """Overrides the claimed precision."""
    num_threads: int = DEFAULT_NUM_THREADS


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How the service listens, stores and signs."""

    listen: str = DEFAULT_LISTEN
    allow_insecure: bool = False
    database: str = DEFAULT_DATABASE
    key_path: Path = DEFAULT_KEY_PATH


def parse_model(text: str) -> ModelSource:
    """Return the source named by `DIR` or `NAME=DIR`. Raises: ConfigurationError."""
    name, equals, folder = text.partition("=")
    source = (
        ModelSource(name=name, folder=Path(folder)) if equals else ModelSource(folder=Path(text))
    )
    if not source.folder.is_dir():
        raise ConfigurationError(
            f"{source.folder} is no folder; name the folder of a Hugging Face checkpoint, or "
            "NAME=FOLDER"
        )
    return source
