"""Findings for people."""

from collections.abc import Sequence

from rich.table import Table

from benchmarks.findings import Finding, Spread


def table(findings: Sequence[Finding]) -> Table:
    """One line per finding: medians, spreads in parentheses, ratio, target."""
    shown = Table(title="ours against the peer, interleaved; median and (lowest, highest)", title_justify="left")
    for name in ("row", "what", "unit"):
        shown.add_column(name)
    for name in ("ours", "peer", "times better", "target"):
        shown.add_column(name, justify="right")
    shown.add_column("holds")
    for finding in findings:
        answer = {True: "yes", False: "NO", None: ""}[finding.holds]
        ratio = f"{_spread(finding.ratios)}" if finding.ratios else ""
        shown.add_row(
            finding.row, f"{finding.what}\nvs {finding.peer}", finding.unit, _spread(finding.ours),
            _spread(finding.peers), ratio, target(finding), answer,
        )  # fmt: skip
    return shown


def target(finding: Finding) -> str:
    """What is asked for, in a few characters."""
    value = finding.target or 0
    match finding.rule:
        case "ratio":
            return f">= {value:g}x"
        case "limit":
            return f"<= {value:g}"
        case "overhead":
            return f"<= +{value:.0%}"
        case _:
            return ""


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    found = Spread.of(values)
    return f"{_number(found.median)} ({_number(found.low)}, {_number(found.high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
