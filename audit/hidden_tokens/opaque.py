"""What the size of hidden reasoning's stand-ins says about its billed count.

Providers send the reasoning back encrypted, signed or summarised. Ciphertext grows with its text:
tokens = a x items + b x characters, with a negative for what each item is wrapped in. Where a bill
states all output tokens only, those of the visible answer are added by its characters. A law holds
for one model version, or for a family that shares a format; it refuses what carries no signal, such
as signatures of one fixed size. The origin provider controls the sizes, a reseller does not.
`opaque_fit` makes the laws.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from audit.billing_records import (
    Adversary,
    BilledRequest,
    Controller,
    Reading,
    Refusal,
    Tier,
    Unchecked,
)
from audit.errors import CalibrationError
from audit.hidden_tokens.conformal import cell_key
from audit.hidden_tokens.laws import (
    Calibrated,
    ChannelTerms,
    Counted,
    bounded_tokens,
    read_terms,
    terms_json,
)
from audit.hidden_tokens.members import choice, items, number, positive, strict_members, text
from audit.hidden_tokens.opaque_evidence import (
    OpaqueKind,
    OpaqueSample,
    opaque_samples,
    unchecked,
)

#: Counts above this many tokens are calibrated apart: their relative errors are several times less.
LARGE_TOKENS = 256.0

_LAW_MEMBERS = (
    *("family", "kind", "counted", "form", "per_item", "per_char", "per_answer_char"),
    *("least_tokens", "small", "large"),
)


def opaque_terms(delta: float, confidence: float, calibration_id: str = "") -> ChannelTerms:
    """Return what all readings of opaque sizes have in common."""
    return ChannelTerms(
        tier=Tier.OPAQUE,
        controller=Controller.ORIGIN_PROVIDER,
        stops=Adversary.INFLATING_RESELLER,
        confidence=confidence,
        delta=delta,
        calibration_id=calibration_id,
    )


class Form(StrEnum):
    """How tokens grow with characters."""

    LINE = "line"
    """tokens = per_item x items + per_char x characters + per_answer_char x answer's characters."""
    POWER = "power"
    """log tokens = per_item + per_char x log characters: a summary is no fixed part of its text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeCurve:
    """Tokens by size."""

    form: Form
    per_item: float
    per_char: float
    per_answer_char: float
    least_tokens: float
    """What nearly all requests it was fitted on are predicted at; it never says less."""

    def predict(self, sample: OpaqueSample) -> float:
        """Return the median of honest counts at such sizes."""
        if self.form is Form.POWER:
            tokens = bounded_tokens(self.per_item + self.per_char * math.log(sample.num_chars))
        else:
            tokens = self.per_item * sample.num_items + self.per_char * sample.num_chars
            tokens += self.per_answer_char * sample.num_answer_chars
        return max(tokens, self.least_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpaqueLaw:
    """Tokens by size for one family of models and one kind of stand-in."""

    family: str
    kind: OpaqueKind
    counted: Counted
    curve: SizeCurve
    small: Calibrated
    """For predictions below `LARGE_TOKENS`; for all of them where `large` is None."""
    large: Calibrated | None

    def reading(self, sample: OpaqueSample, terms: ChannelTerms) -> Reading:
        """Return what the law says about a bill."""
        predicted = self.curve.predict(sample)
        is_large = self.large is not None and predicted >= LARGE_TOKENS
        calibrated = self.large if is_large and self.large is not None else self.small
        return calibrated.reading(
            predicted,
            sample.count,
            channel=f"{self.kind}:{self.family}",
            cell=cell_key(self.family, "", ""),
            terms=terms,
        )

    def to_json(self) -> dict[str, object]:
        """Return the members of a calibration file."""
        return {
            "family": self.family,
            "kind": self.kind.value,
            "counted": self.counted.value,
            "form": self.curve.form.value,
            "per_item": self.curve.per_item,
            "per_char": self.curve.per_char,
            "per_answer_char": self.curve.per_answer_char,
            "least_tokens": self.curve.least_tokens,
            "small": self.small.to_json(),
            "large": None if self.large is None else self.large.to_json(),
        }

    @classmethod
    def from_json(cls, document: object, where: str) -> "OpaqueLaw":
        """Return what `to_json` gave. Raises: CalibrationError naming `where` otherwise."""
        members = strict_members(document, where, _LAW_MEMBERS)
        large = members["large"]
        return cls(
            family=text(members, "family", where),
            kind=choice(OpaqueKind, members, "kind", where),
            counted=choice(Counted, members, "counted", where),
            curve=SizeCurve(
                form=choice(Form, members, "form", where),
                per_item=number(members, "per_item", where),
                per_char=positive(members, "per_char", where),
                per_answer_char=number(members, "per_answer_char", where),
                least_tokens=positive(members, "least_tokens", where),
            ),
            small=Calibrated.from_json(members["small"], f"{where}.small"),
            large=None if large is None else Calibrated.from_json(large, f"{where}.large"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpaqueLaws:
    """All size laws of a calibration; a channel."""

    laws: Mapping[tuple[str, OpaqueKind], OpaqueLaw]
    refused: Mapping[tuple[str, OpaqueKind], Refusal]
    """Families without a law for a kind, and why."""
    families: Mapping[str, str]
    """The family of each model that was seen; by its exact name and version."""
    terms: ChannelTerms

    def read(self, request: BilledRequest, domain: str) -> Reading | Unchecked:
        """Return what the sizes say about a bill, or why they say nothing.

        The laws are of formats, not of domains: `domain` is there for the channels' common form.
        """
        del domain
        samples = opaque_samples(request)
        if isinstance(samples, Unchecked):
            return samples
        family = self.families.get(request.model)
        if family is None:
            return unchecked(Refusal.UNKNOWN_MODEL, f"no sizes of {request.model} were calibrated")
        for sample in samples:
            law = self.laws.get((family, sample.kind))
            if law is None:
                continue
            if law.counted is not sample.counted:
                return unchecked(Refusal.NO_COUNT, f"{law.counted} tokens were not billed")
            return law.reading(sample, self.terms)
        kind = samples[0].kind
        reason = self.refused.get((family, kind), Refusal.UNSEEN_CELL)
        return unchecked(reason, f"no law of {kind} sizes could be made for {family}")

    def to_json(self) -> dict[str, object]:
        """Return the members of a calibration file."""
        return {
            "laws": [law.to_json() for law in self.laws.values()],
            "refused": [
                {"family": family, "kind": kind.value, "reason": why.value}
                for (family, kind), why in self.refused.items()
            ],
            "families": dict(self.families),
            "terms": terms_json(self.terms),
        }

    @classmethod
    def from_json(cls, document: object, calibration_id: str = "") -> "OpaqueLaws":
        """Return what `to_json` gave. Raises: CalibrationError naming the place otherwise."""
        members = strict_members(document, "opaque", ("laws", "refused", "families", "terms"))
        laws = [
            OpaqueLaw.from_json(law, f"opaque.laws[{index}]")
            for index, law in enumerate(items(members, "laws", "opaque"))
        ]
        keyed = {(law.family, law.kind): law for law in laws}
        if len(keyed) != len(laws):
            raise CalibrationError("opaque.laws holds a family twice: train the file again")
        families = strict_members(members["families"], "opaque.families")
        return cls(
            laws=keyed,
            refused=dict(map(_refusal, items(members, "refused", "opaque"))),
            families={model: text(families, model, "opaque.families") for model in families},
            terms=read_terms(members["terms"], "opaque.terms", opaque_terms, calibration_id),
        )


def _refusal(document: object) -> tuple[tuple[str, OpaqueKind], Refusal]:
    where = "opaque.refused"
    members = strict_members(document, where, ("family", "kind", "reason"))
    kind = choice(OpaqueKind, members, "kind", where)
    return (text(members, "family", where), kind), choice(Refusal, members, "reason", where)
