"""From turns to a verdict: medians, spreads, the ratio to the peer, and whether the target holds."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.measuring import Spent, Turns

RULES = ("ratio", "limit", "overhead", "shown")


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, lowest and highest of the repeats."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of one value or more."""
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the table.

    Attributes:
        row: which row it belongs to.
        what: what was measured.
        peer: against what.
        unit: of ``ours`` and ``peers``; lower is better.
        ours: a value per repeat.
        peers: the peer's, in the same order; empty where there is none.
        rule: ``ratio``: median of peer / ours must be at least ``target``; ``overhead``: median of ours / peer - 1 at
            most ``target``; ``limit``: median of ours at most ``target``; ``shown``: nothing is claimed.
        target: see ``rule``.
        note: a condition that a reader must know.
    """

    row: str
    what: str
    peer: str
    unit: str
    ours: tuple[float, ...]
    peers: tuple[float, ...] = ()
    rule: str = "shown"
    target: float | None = None
    note: str = ""

    @property
    def ratios(self) -> tuple[float, ...]:
        """Peer / ours of each repeat: how many times better."""
        return tuple(peer / own for own, peer in zip(self.ours, self.peers, strict=False) if own > 0)

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        match self.rule:
            case "ratio":
                return statistics.median(self.ratios) >= (self.target or 0)
            case "overhead":
                return statistics.median(1 / ratio - 1 for ratio in self.ratios) <= (self.target or 0)
            case "limit":
                return statistics.median(self.ours) <= (self.target or 0)
            case _:
                return None

    def to_json(self) -> dict[str, Any]:
        """Everything, with the statistics."""
        ratios = self.ratios
        return asdict(self) | {
            "ours_spread": asdict(Spread.of(self.ours)),
            "peers_spread": asdict(Spread.of(self.peers)) if self.peers else None,
            "ratio_spread": asdict(Spread.of(ratios)) if ratios else None,
            "holds": self.holds,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Finding":
        """The values again; the statistics follow from them."""
        names = ("row", "what", "peer", "unit", "rule", "target", "note")
        return cls(
            **{name: content[name] for name in names}, ours=tuple(content["ours"]), peers=tuple(content["peers"])
        )


def seconds(turns: Turns, clock: str) -> dict[str, Any]:
    """``unit``, ``ours`` and ``peers`` of a finding about time."""
    return {"unit": f"s {clock}", "ours": _on(turns.ours, clock), "peers": _on(turns.peers, clock)}


def per_item(turns: Turns, clock: str, *, items: int, unit: str) -> dict[str, Any]:
    """The same in milliseconds per image, step or the like."""
    parts = {"ours": _on(turns.ours, clock), "peers": _on(turns.peers, clock)}
    scaled = {name: tuple(1000 * value / items for value in values) for name, values in parts.items()}
    return {"unit": f"ms {clock} / {unit}", **scaled}


def memory(turns: Turns) -> dict[str, Any]:
    """The same about peak memory."""
    parts = {"ours": turns.ours, "peers": turns.peers}
    return {"unit": "MB", **{name: tuple(spent.peak_mb for spent in spents) for name, spents in parts.items()}}


def _on(spents: Sequence[Spent], clock: str) -> tuple[float, ...]:
    return tuple(spent.on(clock) for spent in spents)
