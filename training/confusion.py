"""A confusion matrix → an SVG: rows are the truth, shaded by share of the row, with counts. Opaque, so that it reads on any page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

INCHES = (4.9, 4.5)


def draw(figures: dict[str, Any], name: str, path: Path) -> None:
    """Write one. The same figures give the same file under the same matplotlib. RuntimeError with the cure where that is missing."""
    try:
        import matplotlib
    except ImportError as error:
        raise RuntimeError("confusion matrices are drawn by matplotlib; install it: pip install -e '.[train]'") from error
    from matplotlib.figure import Figure  # no pyplot: nothing here needs a display, or a state that outlives the call

    # Text stays text: smaller, searchable, and a test can read the counts.
    # One family: matplotlib repeats the whole list at each of them.
    fonts = {"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9}
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "emollama", **fonts}):
        figure = Figure(INCHES, layout="constrained", facecolor="white")
        _matrix(figure.add_subplot(), figures, name)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _matrix(axes: Any, figures: dict[str, Any], name: str) -> None:
    counts, labels = np.array(figures["confusion"]), figures["labels"]
    occurring = np.flatnonzero(counts.sum(axis=1))
    rows = counts[occurring]
    shares = rows / rows.sum(axis=1, keepdims=True)
    axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=0.5)
    for row, column in np.ndindex(*rows.shape):
        colour = "white" if shares[row, column] > 0.55 else "black"
        place = column + 0.5, row + 0.5
        axes.text(*place, str(rows[row, column]), ha="center", va="bottom", color=colour)
        axes.text(*place, f"{100 * shares[row, column]:.0f} %", ha="center", va="top", color=colour, fontsize=6.5)
    axes.set_xticks(np.arange(len(labels)) + 0.5, labels, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(occurring.size) + 0.5, [labels[i] for i in occurring])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.set_xlabel("said")
    axes.set_ylabel("true")
    low, high = figures["uar_interval_95"]
    axes.set_title(f"{name}: n {figures['n']}, UAR {figures['uar']:.3f} [{low:.3f}, {high:.3f}]", fontsize=10)
