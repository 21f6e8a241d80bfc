"""Draws the study's figures, as PNG and SVG.

Needs matplotlib, which nothing else does: `pip install 'inference-audit[study]'`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.study.detection import CHECKPOINTS_C, OURS

Float64Array = NDArray[np.float64]

plt.switch_backend("agg")
plt.rcParams["svg.hashsalt"] = "study"
# text stays text: smaller files
plt.rcParams["svg.fonttype"] = "none"

#: Of each line of evidence.
NUM_POINTS = 120

LINES = (
    (OURS, "e-value given the gap (ours)", "-"),
    ("published", "mean clipped margin (published)", "--"),
    ("clipped", "mean clipped margin, filters mended", ":"),
    ("mismatch", "share of mismatches", "-."),
)


def draw_auc(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Draw the AUC against the number of tokens, one panel for each attack."""
    num_rows = -(-len(rows) // 3)
    figure, axes = plt.subplots(
        num_rows, 3, figsize=(10, 2.7 * num_rows), sharex=True, sharey=True, squeeze=False
    )
    for axis, row in zip(axes.flat, rows, strict=False):
        for name, label, style in LINES:
            axis.plot(CHECKPOINTS_C, row["curve"][name], style, label=label, linewidth=1.4)
        axis.set_xscale("log")
        axis.set_title(row["label"], fontsize=10)
        axis.axhline(0.99, color="grey", linewidth=0.5)
    for axis in list(axes.flat)[len(rows) :]:
        axis.set_visible(False)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncol=4, fontsize=8)
    figure.supxlabel("tokens", y=0.05, fontsize=9)
    figure.supylabel("area under the ROC curve", fontsize=9)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    _save(figure, folder, "auc")


def draw_evidence(
    honest: Mapping[str, Float64Array],
    attacks: Mapping[str, Float64Array],
    threshold_log10: float,
    folder: Path,
) -> None:
    """Draw the evidence over tokens of some streams: honest on the left, attacks on the right."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8))
    groups = ((axes[0], honest, "honest"), (axes[1], attacks, "attacks (median of 60 streams)"))
    for axis, arms, title in groups:
        is_honest = axis is axes[0]
        for number, (label, log10_ST) in enumerate(arms.items()):
            lines_ST = log10_ST if is_honest else np.median(log10_ST, axis=0)[None]
            num_tokens = lines_ST.shape[1]
            spread = np.linspace if is_honest else np.geomspace
            tokens_T = np.unique(spread(1, num_tokens, NUM_POINTS).astype(int))
            for s, line_T in enumerate(lines_ST):
                axis.plot(
                    tokens_T,
                    line_T[tokens_T - 1],
                    color=f"C{number}",
                    linewidth=0.7 if is_honest else 1.4,
                    label=label if s == 0 else None,
                )
        axis.axhline(threshold_log10, color="black", linewidth=0.8, linestyle="--")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("tokens", fontsize=9)
        axis.legend(fontsize=7, loc="upper right" if axis is axes[0] else "lower left")
    axes[0].set_ylabel("log10 of the e-value; FAIL at the dashed line", fontsize=9)
    axes[1].set_xscale("log")
    axes[1].set_ylim(-11, 12)
    axes[0].set_ylim(top=3.5)
    figure.tight_layout()
    _save(figure, folder, "evidence")


def draw_false_alarms(
    exchanges: Sequence[Mapping[str, Any]],
    marginal: Sequence[Mapping[str, Any]],
    streams: Sequence[Mapping[str, Any]],
    folder: Path,
) -> None:
    """Draw the share of honest traffic failed, by our rule and by the marginal threshold."""
    figure, axis = plt.subplots(figsize=(8, 3.6))
    places = np.arange(len(exchanges))
    bars = (
        ("marginal threshold, an exchange of 300 tokens", [r["marginal"] for r in exchanges]),
        ("ours, an exchange of 300 tokens", [r["ours"] for r in exchanges]),
        ("marginal threshold, a stream of 3,000 tokens", [r["quantile"] for r in marginal]),
        ("ours, ever in a stream of 3,000 tokens", list(streams)),
    )
    for number, (label, rows) in enumerate(bars):
        shares = np.array([100 * row["share"] for row in rows])
        limits = np.array([100 * row["upper_95"] for row in rows])
        axis.bar(
            places + 0.2 * (number - 1.5),
            shares,
            0.19,
            yerr=[np.zeros(len(shares)), limits - shares],
            label=label,
            error_kw={"linewidth": 0.8},
        )
    axis.axhline(1.0, color="black", linewidth=0.8, linestyle="--")
    axis.set_xticks(places, [row["label"].replace(", ", "\n") for row in exchanges], fontsize=8)
    axis.set_ylabel("honest traffic failed, %\n(whisker: upper 95 % limit)", fontsize=9)
    axis.legend(fontsize=8)
    figure.tight_layout()
    _save(figure, folder, "false-alarms")


def _save(figure: Figure, folder: Path, name: str) -> None:
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        figure.savefig(folder / f"{name}.{ending}", dpi=90, metadata=metadata)
    plt.close(figure)
