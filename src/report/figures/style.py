"""How every figure looks, and how it becomes SVG or PNG; no pyplot and no global settings.

Colours are Okabe and Ito's, told apart by the colour-blind; markers, dashes or labels always say the same again.
"""

import io
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#20252c", "#5b6470", "#dfe3e8", "#fefefe"
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"
GROUP_COLORS = {"head": BLUE, "mid": GREEN, "tail": ORANGE}
GROUP_MARKERS = {"head": "o", "mid": "s", "tail": "^"}
COLOR_VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--grid", PAPER: "--paper",
    BLUE: "--blue", ORANGE: "--orange", GREEN: "--green", PURPLE: "--purple", SKY: "--sky", AMBER: "--amber",
}  # fmt: skip
"""Colours that a page may redefine, for a dark background say."""

SMALL, NORMAL, LARGE = 7.0, 8.5, 9.5
NAMES_SHOWN = 120
"""Classes beyond which an axis shows ranks instead of names."""


Grid = Literal["both", "x", "y", "none"]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches; axes get their room by themselves."""
    return Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)


def dress(axes: Axes, *, title: str = "", xlabel: str = "", ylabel: str = "", grid: Grid = "both") -> None:
    """Calm axes: no box, light grid behind the data, small grey numbers.

    Args:
        axes: to be dressed.
        title: short, above and to the left.
        xlabel: with the unit.
        ylabel: with the unit.
        grid: ``both``, ``x``, ``y`` or ``none``.
    """
    axes.set_facecolor("none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
        axes.spines[side].set_linewidth(0.6)
    axes.tick_params(which="both", colors=MUTED, labelsize=NORMAL - 0.5, length=2.5, width=0.6)
    axes.tick_params(which="minor", length=1.5)
    axes.set_axisbelow(True)
    if grid != "none":
        axes.grid(True, axis=grid, color=GRID, linewidth=0.6)
    axes.set_xlabel(xlabel, fontsize=NORMAL, color=INK)
    axes.set_ylabel(ylabel, fontsize=NORMAL, color=INK)
    if title:
        axes.set_title(title, fontsize=LARGE, color=INK, loc="left", fontweight="bold")


def legend(axes: Axes, **options: Any) -> None:
    """Frameless legend."""
    axes.legend(frameon=False, fontsize=NORMAL - 0.5, labelcolor=INK, **options)


def figure_legend(figure: Figure, axes: Axes, **options: Any) -> None:
    """Frameless legend of one pair of axes outside of it, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=NORMAL - 0.5, labelcolor=INK, **options)


def literal(text: str) -> str:
    """Text as it stands: a dollar sign in a class name begins no formula."""
    return text.replace("$", r"\$")


def class_axis(axes: Axes, class_names: Iterable[str]) -> None:
    """Class names below the bars, upright; ranks where there are too many classes for names."""
    names = [literal(name) for name in class_names]
    if len(names) <= NAMES_SHOWN:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=SMALL if len(names) > 40 else NORMAL)
        axes.tick_params(axis="x", length=0, pad=2)
    axes.set_xlim(-0.8, len(names) - 0.2)


def no_data(axes: Axes, reason: str) -> None:
    """Say why there is nothing to see."""
    axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", fontsize=NORMAL, color=MUTED)


def to_png(figure: Figure, *, dpi: int = 144) -> bytes:
    """The figure as PNG; the same bytes for the same table."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def to_svg(figure: Figure, *, name: str, description: str, variables: Mapping[str, str] = COLOR_VARIABLES) -> str:
    """The figure as an ``<svg>`` element to put into a page; the same text for the same table.

    Text stays text in the page's own font, colours become CSS variables, ids begin with ``name`` so that several
    figures live in one page, and there is no background.

    Args:
        figure: to be drawn.
        name: letters and dashes; unique within the page.
        description: what a screen reader says.
        variables: hexadecimal colour to CSS variable.
    """
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}), warnings.catch_warnings():
        # The page's font draws the text; matplotlib's own only measures it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        _lay_out(figure)
        figure.savefig(stream, format="svg", transparent=True, dpi=144, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg ") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = _own_ids(text.replace("xlink:href", "href"), name)
    text = re.sub(r'style="[^"]*"', lambda style: _themed(style[0], variables), text)
    view_box = re.search(r'viewBox="[^"]+"', text)
    label = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    head = f'<svg class="figure" role="img" aria-label="{label}" {view_box.group() if view_box else ""}>'
    return head + text[text.index(">") + 1 :].strip()


def _lay_out(figure: Figure) -> None:
    """Give every axes its room once; saving would draw the whole figure for it, with slower measures of text."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def _themed(style: str, variables: Mapping[str, str]) -> str:
    for color, variable in variables.items():
        style = style.replace(color, f"var({variable})")
    return re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", style)


def _own_ids(svg: str, name: str) -> str:
    """Drop ids that nothing refers to, and begin the others with ``name``."""
    used = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))

    def renamed(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    svg = re.sub(r' id="([^"]+)"', renamed, svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    return re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
