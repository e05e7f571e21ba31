"""Images of the labels and members of the shards: found, missing, twice."""

import pytest

from src.data.errors import DataError
from src.data.tar.match import match_members


def match(names, members):
    return match_members(names, members, [f"s{at}.tar" for at in range(len(members))], what="json and shards").tolist()


@pytest.mark.parametrize(
    ("names", "members"),
    [
        (["b.jpg", "a.jpg"], ["a.jpg", "x.jpg", "b.jpg"]),
        (["b.jpg", "a.jpg"], ["a.jpeg", "x.jpg", "b.JPG"]),
        (["train/b.jpg", "train/a.jpg"], ["a.jpeg", "x.jpg", "b.jpg"]),
        (["b.jpg", "a.jpg"], ["0/a.jpg", "0/x.jpg", "1/b.jpg"]),
        (["a.png", "a.jpg"], ["a.jpg", "x.jpg", "a.png"]),
        (["1/a.jpg", "0/a.jpg"], ["0/a.jpg", "x.jpg", "1/a.jpg"]),
        (["b.c.jpg", "b.jpg"], ["b.png", "x.jpg", "b.c.png"]),
    ],
)
def test_match_members__whole_names_first_then_without_ending_then_without_folder(names, members):
    assert match(names, members) == [2, 0]


def test_match_members__missing_ones_are_counted_and_ten_named():
    names = [f"{at}.jpg" for at in range(100)]
    with pytest.raises(DataError, match=r"json and shards: 12 of 100 images of the labels are in no shard") as caught:
        match(names, names[12:])
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert lines == [*names[:10], "and 2 more"]


def test_match_members__two_images_of_one_name_in_folders_are_not_mixed_up():
    with pytest.raises(DataError, match="1 of 2 images"):
        match(["0/a.jpg", "1/a.jpg"], ["0/a.jpg"])


def test_match_members__a_key_in_two_places_is_an_error_where_the_labels_want_it():
    assert match(["a.jpg"], ["a.jpg", "b.jpg", "b.jpg"]) == [0]
    with pytest.raises(DataError, match=r"1 images are in the shards more than once .*\n  b\.jpg: s1\.tar, s2\.tar"):
        match(["a.jpg", "b.jpg"], ["a.jpg", "b.jpg", "b.jpg"])
