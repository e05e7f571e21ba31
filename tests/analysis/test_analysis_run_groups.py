"""Which configurations count as repetitions of one another, and what groups are called."""

from typing import Any

import pytest

from src.analysis.run_groups import GroupError, differing_keys, find_group, flatten_options, group_runs

BCE = {"variants.loss": "loss/bce", "loss.scale": 1.0}
ASL = {"variants.loss": "loss/asl", "loss.gamma_neg": 4.0, "loss.scale": 1.0}


def options(base: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    common = {"name": "a", "seed": 0, "output_dir": "outputs", "optimizer.lr": 0.01, "data.num_workers": 0}
    return common | (BCE if base is None else base) | {key.replace("__", "."): value for key, value in changes.items()}


def test_flatten_options__nested_and_lists() -> None:
    config = {"a": {"b": {"c": 1}, "d": [1, 2]}, "e": None}
    assert flatten_options(config) == {"a.b.c": 1, "a.d": "[1, 2]", "e": None}


def test_differing_keys__seed_names_and_loading_do_not_count() -> None:
    runs = [options(), options(seed=3, name="b", output_dir="x", data__num_workers=4, logger__wandb=True)]
    assert differing_keys(runs) == []
    assert differing_keys([*runs, options(optimizer__lr=0.1)]) == ["optimizer.lr"]


def test_group_runs__seeds_are_one_group() -> None:
    found = group_runs([options(seed=0), options(ASL, seed=0), options(seed=1), options(ASL, seed=1)])
    assert found.labels == ("loss=bce", "loss=asl", "loss=bce", "loss=asl")
    assert found.mixed == ()


def test_group_runs__a_variants_own_keys_are_named_only_where_they_vary_within_it() -> None:
    found = group_runs([options(), options(ASL), options(ASL | {"loss.gamma_neg": 2.0})])
    assert found.labels == ("loss=bce", "loss=asl, gamma_neg=4.0", "loss=asl, gamma_neg=2.0")


def test_group_runs__short_names_only_where_they_are_unique() -> None:
    runs = [options(a__beta=1, b__beta=1, b__own=1), options(a__beta=2, b__beta=1, b__own=2)]
    assert group_runs(runs).labels == ("a.beta=1, own=1", "a.beta=2, own=2")


def test_group_runs__all_alike() -> None:
    assert group_runs([options(), options(seed=1)]).labels == ("all alike", "all alike")


def test_group_runs__by_seed() -> None:
    assert group_runs([options(), options(seed=1)], by=["seed"]).labels == ("seed=0", "seed=1")


def test_group_runs__by_a_group_pools_the_rest_and_says_so() -> None:
    runs = [options(), options(optimizer__lr=0.1), options(ASL), options(ASL, optimizer__lr=0.1)]
    found = group_runs(runs, by=["loss"])
    assert found.labels == ("loss=bce", "loss=bce", "loss=asl", "loss=asl")
    assert found.mixed == ("optimizer.lr",)
    assert group_runs(runs, by=["optimizer.lr"]).labels == ("lr=0.01", "lr=0.1", "lr=0.01", "lr=0.1")
    assert len(set(group_runs(runs, by=["optimizer.lr", "loss"]).labels)) == 4


def test_group_runs__by_a_key_that_a_run_lacks() -> None:
    assert group_runs([options(), options(ASL)], by=["loss.gamma_neg"]).labels == ("gamma_neg=none", "gamma_neg=4.0")


def test_group_runs__mistakes_are_named() -> None:
    runs = [options(), options(ASL)]
    with pytest.raises(GroupError, match=r"by=optimizer\.lrr: no run has such a key; did you mean by=optimizer\.lr\?"):
        group_runs(runs, by=["optimizer.lrr"])
    with pytest.raises(GroupError, match=r"by=optimizer\.lr: the same in every run; what differs: .*variants\.loss"):
        group_runs(runs, by=["optimizer.lr"])


def test_find_group__by_label_run_or_word() -> None:
    labels, names = ["loss=bce", "loss=asl, lr=0.1", "loss=asl, lr=0.2"], ["out/a", "out/b", "out/c"]
    assert find_group("loss=bce", labels, names) == "loss=bce"
    assert find_group("bce", labels, names) == "loss=bce"
    assert find_group("0.2", labels, names) == "loss=asl, lr=0.2"
    assert find_group("out/b/", labels, names) == "loss=asl, lr=0.1"
    with pytest.raises(GroupError, match=r"reference=asl: names no group for certain.*loss=bce \| loss=asl, lr=0\.1"):
        find_group("asl", labels, names)
