from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.order import ByShard, EpochBatchSampler, permutation


def train_order(num_images=23, batch_size=4, **options):
    return EpochBatchSampler(num_images, batch_size, **{"seed": 1, "shuffle": True, "drop_last": True, **options})


def rows(batches):
    return [row for batch in batches for _, row in batch]


@given(st.integers(0, 300), st.integers(0, 2**32), st.integers(0, 10_000))
def test_permutation__is_one_and_reproduces(num_images, seed, epoch):
    order = permutation(num_images, seed=seed, epoch=epoch)
    assert sorted(order.tolist()) == list(range(num_images))
    np.testing.assert_array_equal(order, permutation(num_images, seed=seed, epoch=epoch))


def test_permutation__differs_between_seeds_and_epochs():
    orders = {permutation(50, seed=seed, epoch=epoch).tobytes() for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


@settings(max_examples=200)
@given(
    num_images=st.integers(1, 120),
    batch_size=st.integers(1, 40),
    world_size=st.integers(1, 4),
    epoch=st.integers(0, 5),
    drop_last=st.booleans(),
)
def test_train_order__ranks_share_the_images_in_equally_many_batches(
    num_images, batch_size, world_size, epoch, drop_last
):
    seen, lengths = [], set()
    for rank in range(world_size):
        order = train_order(num_images, batch_size, rank=rank, world_size=world_size, drop_last=drop_last)
        order.set_epoch(epoch)
        batches = list(order)
        assert len(batches) == len(order)
        assert all(key[0] == epoch for batch in batches for key in batch)
        assert all(len(batch) == batch_size for batch in batches[:-1])
        lengths.add(tuple(map(len, batches)))
        seen += rows(batches)
    assert len(lengths) == 1
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(num_images))
    left_out = num_images - len(seen)
    share = num_images // world_size
    dropped = world_size * (share % batch_size) if drop_last and share >= batch_size else 0
    assert left_out == num_images % world_size + dropped


@given(st.integers(0, 120), st.integers(1, 40), st.integers(1, 4))
def test_eval_order__every_row_once_over_all_ranks(num_images, batch_size, world_size):
    seen = []
    for rank in range(world_size):
        order = EpochBatchSampler(
            num_images, batch_size, seed=1, shuffle=False, drop_last=False, rank=rank, world_size=world_size
        )
        batches = list(order)
        assert len(batches) == len(order)
        own = rows(batches)
        assert own == sorted(own)
        seen += own
    assert sorted(seen) == list(range(num_images))


def test_train_order__fewer_images_than_a_batch_still_make_one():
    assert [len(batch) for batch in train_order(3, 8)] == [3]


def test_train_order__epochs_differ_and_come_back():
    order = train_order()
    first = list(order)
    order.set_epoch(1)
    second = list(order)
    order.set_epoch(0)
    assert rows(first) != rows(second)
    assert list(order) == first


@given(st.integers(0, 5), st.integers(0, 3))
def test_skip_batches__the_rest_is_the_same_once(skipped, epoch):
    order = train_order()
    order.set_epoch(epoch)
    whole = list(order)
    order.skip_batches(skipped)
    assert len(order) == len(whole) == 5
    assert list(order) == whole[skipped:]
    assert list(order) == whole


@pytest.mark.parametrize("count", [-1, 6])
def test_skip_batches__more_than_there_are(count):
    with pytest.raises(ValueError, match="epoch of 5"):
        train_order().skip_batches(count)


def test_iter__epoch_and_start_are_those_at_its_begin():
    order = train_order()
    expected = list(order)
    running = iter(order)
    order.set_epoch(3)
    assert list(running) == expected


def test_skip_batches__is_not_used_up_by_an_iteration_that_draws_nothing():
    order = train_order()
    whole = list(order)
    order.skip_batches(2)
    iter(order)
    assert list(order) == whole[2:]
    assert list(order) == whole


def test_max_batches__ends_the_epoch():
    whole, short = train_order(), train_order(max_batches=2)
    assert len(short) == 2
    assert list(short) == list(islice(whole, 2))
    assert len(train_order(max_batches=99)) == len(whole)


def test_sampler__lightning_sets_the_epoch_through_it():
    from lightning_fabric.utilities.data import _set_sampler_epoch
    from torch.utils.data import DataLoader

    order, calls = train_order(), []
    order.set_epoch = calls.append
    _set_sampler_epoch(DataLoader(range(23), batch_sampler=order), 4)
    assert calls == [4]


@settings(max_examples=200)
@given(
    draws=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    batch_size=st.integers(1, 9),
    world_size=st.integers(1, 3),
    epoch=st.integers(0, 5),
)
def test_draws__ranks_share_the_visits_and_every_key_is_another(draws, batch_size, world_size, epoch):
    """Whole draws are visited exactly; the second visit of a row is numbered 1 in whatever process it happens."""
    keys, lengths = [], set()
    for rank in range(world_size):
        order = train_order(
            len(draws), batch_size, draws_N=np.array(draws, float), drop_last=False, rank=rank, world_size=world_size
        )
        order.set_epoch(epoch)
        batches = list(order)
        assert len(batches) == len(order)
        lengths.add(tuple(map(len, batches)))
        keys += [key for batch in batches for key in batch]
    assert len(lengths) == 1
    assert len(set(keys)) == len(keys) == sum(draws) - sum(draws) % world_size
    possible = {(epoch, row, *([again] if again else [])) for row, many in enumerate(draws) for again in range(many)}
    assert set(keys) <= possible


def test_draws__of_one_are_the_same_batches_as_none():
    for epoch in range(3):
        plain, drawn = train_order(), train_order(draws_N=np.ones(23))
        plain.set_epoch(epoch)
        drawn.set_epoch(epoch)
        assert list(plain) == list(drawn)


def test_draws__skip_batches_leaves_the_rest_of_the_epoch():
    options = {"draws_N": np.array([2.5, 0.5, 1, 3, 1, 1, 2])}
    order = train_order(7, 2, **options)
    for epoch in range(4):
        order.set_epoch(epoch)
        whole = list(order)
        assert len(whole) == len(order) == 5
        order.skip_batches(3)
        assert list(order) == whole[3:]


@pytest.mark.parametrize("options", [{"draws_N": np.ones(22)}, {"draws_N": np.ones(23), "shuffle": False}])
def test_draws__for_each_image_and_only_to_shuffle(options):
    with pytest.raises(ValueError, match="one number for each of 23 images"):
        train_order(**options)


@settings(max_examples=100)
@given(
    shards=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    window=st.integers(1, 4),
    world_size=st.integers(1, 3),
    shuffle=st.booleans(),
)
def test_by_shard__covers_every_row_once_and_announces_what_comes(shards, window, world_size, shuffle):
    seen = []
    for rank in range(world_size):
        announced = []
        by_shard = ByShard(
            np.array(shards, np.int32), window, lambda rows_L, at, kept=announced: kept.append((rows_L, at))
        )
        order = train_order(
            len(shards), 4, shuffle=shuffle, drop_last=False, by_shard=by_shard, rank=rank, world_size=world_size
        )
        batches = rows_of_batches(order)
        assert len(announced) == len(batches)
        for (rows_L, at), batch in zip(announced, batches, strict=True):
            assert rows_L[at : at + len(batch)].tolist() == batch
        seen += [row for batch in batches for row in batch]
        if not shuffle:
            own = [shards[row] for batch in batches for row in batch]
            assert own == sorted(own)
    assert len(set(seen)) == len(seen)
    assert len(seen) == (len(shards) // world_size * world_size if shuffle else len(shards))


def rows_of_batches(order):
    return [[key[1] for key in batch] for batch in order]
