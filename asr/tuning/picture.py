"""The error surface as a picture."""

import io

from asr.tuning.search import Tuning


def draw_surface(tuning: Tuning) -> bytes:
    """Draw the word error rate over LM weight and insertion bonus, with the way of the search.

    Args:
        tuning: what to draw.

    Returns:
        A PNG.

    Raises:
        ImportError: matplotlib is not installed; it is in the extra ``plots``.
    """
    from matplotlib.figure import Figure

    surface = tuning.surface
    rates = 100 * surface.errors / max(1, surface.words)
    figure = Figure(figsize=(8, 5.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    # Far from the best point rates grow without bound; what matters lies near it.
    top = min(float(rates.max()), 2 * float(rates.min()) + 1)
    mesh = axes.pcolormesh(
        surface.bonuses, surface.lm_weights, rates, cmap="viridis_r", vmax=top, shading="nearest"
    )
    figure.colorbar(mesh, label="WER in %", extend="max")
    way = [(each.bonus, each.lm_weight) for each in tuning.rounds]
    axes.plot(*zip(*way, strict=True), "o-", color="white", markersize=4, linewidth=1)
    for number, place in enumerate(way, start=1):
        axes.annotate(str(number), place, xytext=(4, 4), textcoords="offset points", color="white")
    axes.plot(tuning.bonus, tuning.lm_weight, "*", color="red", markersize=14)
    axes.set_xlabel("insertion bonus a word")
    axes.set_ylabel("LM weight")
    axes.set_title(
        f"{100 * tuning.errors / max(1, tuning.words):.2f} % WER at LM weight "
        f"{tuning.lm_weight:g}, bonus {tuning.bonus:g}"
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
