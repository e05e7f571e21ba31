"""The data report in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table

from src.analysis.imbalance import ConstantBaselines
from src.report.tables import console

BAR_WIDTH = 30


def print_description(content: Mapping[str, Any]) -> None:
    """Print the report that ``src.run.description.describe`` makes."""
    tables = (_summary(content), _classes(content), *_sampler(content["sampler"]), _pairs(content))
    console().print(Group(*tables, *_findings(content), *_images(content)))


def _summary(content: Mapping[str, Any]) -> str:
    found, constant = content["summary"], content["summary"]["baselines"]
    source = "built-in sample, " if content["builtin_sample"] else ""
    note = f"; {content['note']}" if content["note"] else ""
    lines = {
        "data": f"{source}{content['annotations']}",
        "images": f"{found['images']:,}, of which {found['empty_images']:,} without a class{note}",
        "labels": f"{found['labels_mean']:.2f} per image ({found['labels_min']} to {found['labels_max']})",
        "imbalance": f"most : least frequent class {found['imbalance_ratio']:.0f} : 1, "
        f"{found['neg_pos']:.1f} negatives per positive",
        "left out": f"{content['dropped_empty']} images without a class, {content['ignored_crowd']} crowd and "
        f"{content['ignored_small']} small annotations",
        "to beat": f"the {ConstantBaselines(**constant).most_frequent} everywhere: "
        f"micro-F1 {constant['best_f1_micro']:.3f}; class frequencies: mAP {constant['prior_map']:.3f}; "
        f"never anything: accuracy {constant['all_negative_accuracy']:.3f}",
    }
    return "\n".join(f"{key:<10} {value}" for key, value in lines.items())


def _classes(content: Mapping[str, Any]) -> Table:
    table = Table(title="classes, most frequent first", title_justify="left")
    for header in ("class", "images", "share", "neg/pos", "group", ""):
        table.add_column(header, justify="left" if header in ("class", "group", "") else "right")
    rows = sorted(content["classes"], key=lambda row: -row["count"])
    largest = max(row["count"] for row in rows) or 1
    for row in rows:
        bar = "█" * max(round(BAR_WIDTH * row["count"] / largest), int(row["count"] > 0))
        table.add_row(
            row["class_name"],
            f"{row['count']:,}",
            f"{row['frequency']:.2%}",
            f"{row['neg_pos']:.1f}",
            row["group"],
            bar,
        )
    return table


def _sampler(effect: Mapping[str, Any] | None) -> list[str | Table]:
    if effect is None:
        return []
    found, threshold = effect["summary"], effect["repeat_threshold"]
    limit = "" if threshold is None else f", classes in less than {threshold:.2%} of the images repeat"
    lines = {
        "sampler": f"{effect['name']}{limit}",
        "epoch": f"{found['visits']:,} visits to {found['images']:,} images; {found['left_out']:,.0f} of them are not "
        f"visited, one up to {found['most_visits']:.1f} times, on average",
        "imbalance": f"most : least frequent class {found['imbalance_before']:.0f} : 1 -> "
        f"{found['imbalance_after']:.0f} : 1, {found['neg_pos_before']:.1f} -> {found['neg_pos_after']:.1f} negatives "
        f"per positive, {found['labels_before']:.2f} -> {found['labels_after']:.2f} labels per image",
    }
    if found["most_visits"] <= 1:
        lines["note"] = "no class is that rare: the same as data.sampler=uniform"
    table = Table(title="visits per class in an epoch, rarest class first", title_justify="left")
    for header in ("class", "images", "visits", "factor", "group"):
        table.add_column(header, justify="left" if header in ("class", "group") else "right")
    for row in sorted(effect["classes"], key=lambda row: row["count"]):
        visits = f"{row['expected_count']:,.0f}"
        table.add_row(row["class_name"], f"{row['count']:,}", visits, f"{row['factor']:.2f}", row["group"])
    return ["\n".join(f"{key:<10} {value}" for key, value in lines.items()), table]


def _pairs(content: Mapping[str, Any]) -> Table:
    table = Table(title="classes that come together", title_justify="left")
    for header in ("given", "then", "probability", "lift"):
        table.add_column(header, justify="left" if header in ("given", "then") else "right")
    for pair in content["pairs"]:
        table.add_row(pair["given"], pair["then"], f"{pair['probability']:.2f}", f"{pair['lift']:.1f}")
    return table


def _findings(content: Mapping[str, Any]) -> list[str]:
    found = [f"{name:<10} {sentence}" for name, sentence in content["labels"].items()]
    return ["label health", *found] if found else ["label health: nothing odd"]


def _images(content: Mapping[str, Any]) -> list[str]:
    health = content["images"]
    if health is None:
        return []
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in health["kinds"].items())
    lines = [
        f"image health: {health['checked']:,} of {health['total']:,} images read, {len(health['broken'])} broken"
        f"{'' if health['checked'] == health['total'] else '; images=-1 reads all'}",
        f"{'kinds':<10} {kinds}",
        f"{'width':<10} {_spread(health['widths'], '.0f')} (min / median / max)",
        f"{'height':<10} {_spread(health['heights'], '.0f')}",
        f"{'rotated':<10} {health['rotated']} with an Exif rotation, which is ignored as COCO's boxes do",
        f"{'brightness':<10} {_spread(health['brightness'], '.1f')} of 255; "
        f"normalised {_spread(health['normalized'], '.2f')}",
        *(f"{'darkest':<10} {image['brightness']:.1f}  {image['path']}" for image in health["darkest"]),
        *(f"{'broken':<10} {image['path']}: {image['reason']}" for image in health["broken"][:10]),
    ]
    return ["", *lines]


def _spread(values: Mapping[str, float], form: str) -> str:
    return " / ".join(format(values[name], form) for name in ("min", "median", "max"))
