"""What the judge found, beyond PASS and FAIL: records that verdicts carry.

They stand below `audit.records`, which builds the verdict from them. `None` always means "could not
be told", never zero.
"""

from dataclasses import dataclass
from enum import StrEnum


class Disposition(StrEnum):
    """What an explanation of a FAIL means to the buyer; the policy maps one to the other."""

    SUBSTITUTION = "substitution"
    MISCONFIGURED = "misconfigured"
    POLICY_DIFFERENT = "policy_different"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseEstimate:
    """How far the provider's logit differences stray from the reference's, as one number.

    The standard deviation of Gaussian noise that would change as many calls, given how close each
    call was.
    """

    estimate_logits: float
    low_logits: float
    """Lower confidence limit, valid at any stopping time."""
    high_logits: float | None
    """Upper confidence limit; None where no noise level is ruled out from above."""
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackPower:
    """How likely a named attack would have been failed at this number of tokens."""

    attack: str
    label: str
    power: float
    num_tokens_needed: int | None
    """Tokens at which it would be failed with the policy's power; None where the study saw none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One candidate cause of a FAIL, with how well it accounts for the tokens."""

    name: str
    """Short id such as `temperature`, `other_seed`, `int4`, `burst`, `unknown`."""
    statement: str
    """The same in a plain sentence, with the fitted figure."""
    disposition: Disposition
    probability: float
    """Share among all candidates, equal before the tokens were seen."""
    log_likelihood_nats: float
    estimate: float | None = None
    """The fitted figure: a temperature, a noise level in logits, a seed."""
    first_token: int | None = None
    """First output token concerned, counted from 0, where it is only a part."""
    last_token: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What one exchange adds to the evidence against its provider.

    Legend: K alternatives, G noise levels.
    """

    num_tokens: int
    num_mismatches: int
    log_e_nats_K: tuple[float, ...]
    """Log e-value of the exchange under each alternative."""
    log_e_nats: float
    """Log e-value of the exchange by itself: the mixture over alternatives."""
    log_likelihood_G: tuple[float, ...]
    """Log-likelihood of the calls at noise level g."""
    is_tell: bool
    """Whether the exchange would be surprising by itself."""
    exchange_digest: str
    """Digest of prompt and sampling; asked again, the same question adds nothing."""
    honest_noise_logits: float
    """The noise of the noisiest honest traffic of this kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamKey:
    """Whose evidence is added up: one provider's endpoint, one claim, one yardstick."""

    provider: str
    """Empty where the recorder did not say."""
    endpoint: str
    model: str
    model_digest: str
    calibration_id: str
    policy_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFinding:
    """The evidence about one provider over all its exchanges so far."""

    stream_id: str
    """`sha256:<hex>` of the stream's key."""
    outcome: str
    """PASS, FAIL or INCONCLUSIVE; a FAIL stays."""
    statement: str
    num_exchanges: int
    num_tokens: int
    log10_e_value: float
    log10_threshold: float
    """A FAIL as soon as the e-value reaches it, whenever that is looked at."""
    failed_at_exchange: int | None
    """Counted from 1."""
    substituted_share_low: float
    """Lower confidence limit for the share of substituted exchanges, valid at every look."""
    num_tells: int
    """Exchanges that would each be surprising by itself."""
    sticky_log10_e_value: float
    """Evidence that tells come in runs, as under sticky routing, rather than independently."""
    noise: NoiseEstimate | None
