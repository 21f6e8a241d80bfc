"""Settings of the auditor, complete and frozen.

The command line builds them, `audit.app` uses them.

The only module that names environment variables. Times, ids and keys are decided here and handed
down.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from audit.errors import ConfigurationError

ENV_PREFIX = "INFERENCE_AUDIT_"
DEFAULT_LISTEN = "127.0.0.1:50051"
DEFAULT_DATABASE = "sqlite:///var/inference-audit.db"
DEFAULT_KEY_PATH = Path("var/verdict-key.pem")
DEFAULT_ORIGIN = "verdicts.inference-audit.example"

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
class LogSettings:
    """Which verdict log is kept, and who vouches for it besides us."""

    origin: str = DEFAULT_ORIGIN
    """The log's name, a bare host name; a new log needs a new one."""
    key_path: Path | None = None
    """The log's own key; None takes `log-key.pem` beside the verdict key."""
    anchor_path: Path | None = None
    """Holds the newest checkpoint; None takes `log-anchor` beside the verdict key."""
    is_post_quantum: bool = False
    """Whether checkpoints carry an ML-DSA-44 line too."""
    tenant: str = "default"
    retention_days: int | None = None
    """After so many days content of this service's tenant is erased; None keeps everything."""
    signer: str | None = None
    """URI of a verdict key that is not in a file; needs `signer_public_key`."""
    signer_public_key: Path | None = None
    signer_secret: Path | None = None
    """File with the PIN or other secret that the signer asks for."""
    witness_policy: Path | None = None
    """C2SP tlog-policy file: the witnesses asked, and how many must answer."""
    timestamp_authority: str | None = None
    """URL of an RFC 3161 authority."""
    timestamp_chain: Path | None = None
    """PEM certificates of that authority, its root last."""
    publish_interval_s: float = 10.0
    """How often witnesses are asked about a tree that has grown."""
    timestamp_interval_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingSettings:
    """By what billed reasoning tokens are checked."""

    calibration: Path | None = None
    """Made by `inference-audit tokens calibrate`; None leaves accounting and reference ranks."""
    rules: Path | None = None
    """None takes the bundled ones."""
    prices: Path | None = None
    """TOML; None tells tokens and no money."""
    vocabularies: Path | None = None
    """Folder of public rank files; None recounts no text."""
    palace: Path | None = None
    """Made by `inference-audit tokens palace-train`; None estimates with no language model."""
    palace_model: Path | None = None
    """The checkpoint that the folder belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """By what endpoints are swept."""

    bundle: Path | None = None
    """Made by `inference-audit sweep calibrate`; None leaves the pre-flight alone."""
    policy: Path | None = None
    """None takes the bundled one."""
    texts: Path | None = None
    """Folder of ordinary text that probes are cut from, in files that are never sent whole; None
    takes the source of Python's standard library."""
    candidates: str = "int4-g32 fp8-e4m3 int8-g32 kv-fp8-e4m3 kv-fp8-e4m3-cpu"
    """Roundings that are told apart as explanations, with spaces between."""
    positive_control: str = "int4-g32"
    """The copy that every run must find."""
    controls: bool = True
    """Whether each run asks an honest endpoint and the positive control, started here."""
    key_prefix: str = "SWEEP_KEY_"
    """Sweeps of clients may name environment variables that begin so, and no others."""
    key_folder: Path | None = None
    """Sweeps of clients may name key files in this folder; None: no files."""
    allowed_hosts: str = "*"
    """Patterns of hosts that clients' sweeps may ask, with spaces between."""
    schedulers: bool = True
    """Whether this service runs what is due; another one with the same database may."""
    lease_s: float = 60.0
    """How long a run belongs to a scheduler that is not heard of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How the service listens, stores and signs."""

    listen: str = DEFAULT_LISTEN
    allow_insecure: bool = False
    database: str = DEFAULT_DATABASE
    key_path: Path = DEFAULT_KEY_PATH
    log: LogSettings = field(default_factory=LogSettings)
    billing: BillingSettings = field(default_factory=BillingSettings)
    sweeps: SweepSettings | None = None
    """None: the service keeps no sweeps."""

    @property
    def log_key_path(self) -> Path:
        """The file of the log's key."""
        return self.log.key_path or self.key_path.with_name("log-key.pem")

    @property
    def anchor_path(self) -> Path:
        """The file of the anchor."""
        return self.log.anchor_path or self.key_path.with_name("log-anchor")


def load_log_settings(path: Path | None) -> LogSettings:
    """Return the settings of a TOML file, its paths relative to its own folder; None the defaults.

    Raises: ConfigurationError naming what is unknown or of the wrong kind.
    """
    return LogSettings(**_settings(path, "log", LogSettings))


def load_billing_settings(path: Path | None) -> BillingSettings:
    """Return the settings of a TOML file, as `load_log_settings` does."""
    return BillingSettings(**_settings(path, "billing", BillingSettings))


def load_sweep_settings(path: Path | None) -> SweepSettings | None:
    """Return the settings of a TOML file, as `load_log_settings` does; None without a file."""
    return None if path is None else SweepSettings(**_settings(path, "sweep", SweepSettings))


def _settings(path: Path | None, what: str, settings: type) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"cannot read the {what} settings {path}: {error}") from error
    kinds = get_type_hints(settings)
    return {name: _setting(path, kinds, name, value) for name, value in document.items()}


def _setting(path: Path, kinds: dict[str, Any], name: str, value: object) -> Any:
    if name not in kinds:
        known = ", ".join(sorted(kinds))
        raise ConfigurationError(f"{path}: there is no setting {name!r}; known are: {known}")
    wanted = [kind for kind in get_args(kinds[name]) or (kinds[name],) if kind is not NoneType]
    if Path in wanted and isinstance(value, str):
        return path.parent / value
    if float in wanted and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) not in wanted:
        raise ConfigurationError(f"{path}: {name} must be of kind {wanted[0].__name__}")
    if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
        raise ConfigurationError(f"{path}: {name} must be above 0")
    return value


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


def environment() -> Mapping[str, str]:
    """Return the process's environment, where `env:NAME` references are looked up."""
    return os.environ
