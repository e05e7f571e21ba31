"""Whether runs answered the same questions, so that their differences are paired image by image."""

from collections.abc import Mapping

import numpy as np

from src.config.schema.errors import UserError
from src.runfolder import Predictions


class CompareError(UserError):
    """Runs that cannot be compared."""


def check_comparable(predictions: Mapping[str, Predictions], *, split: str) -> None:
    """Every run must have answered the same questions.

    Args:
        predictions: by run; two or more.
        split: for the message.

    Raises:
        CompareError: fewer than two runs, or other classes, images or targets than the first one's.
    """
    if len(predictions) < 2:
        raise CompareError(f"runs: {len(predictions)} found, a comparison needs two or more ({', '.join(predictions)})")
    names = iter(predictions.items())
    first, expected = next(names)
    for name, found in names:
        _check_classes(first, expected, name, found)
        _check_images(first, expected, name, found, split)
        wrong_NC = expected.targets != found.targets
        if wrong_NC.any():
            row, column = (int(index) for index in np.argwhere(wrong_NC)[0])
            raise CompareError(
                f"{name}: {int(wrong_NC.sum()):,} targets differ from those of {first}, first "
                f"{expected.class_names[column]} of image {expected.image_ids[row]}; the runs used other labels "
                "(data.crowd, data.min_area, another annotation file): evaluate both on one data.root"
            )


def _check_classes(first: str, expected: Predictions, name: str, found: Predictions) -> None:
    if tuple(expected.class_names) == tuple(found.class_names):
        return
    strange = sorted(set(expected.class_names) ^ set(found.class_names))
    what = f"differ in {', '.join(strange[:5])}" if strange else "stand in another order"
    raise CompareError(f"{name}: {len(found.class_names)} classes that {what} from the {len(expected.class_names)} "
                       f"of {first}; only runs on the same classes compare (data.classes)")  # fmt: skip


def _check_images(first: str, expected: Predictions, name: str, found: Predictions, split: str) -> None:
    if np.array_equal(expected.image_ids, found.image_ids):
        return
    ours, theirs = set(expected.image_ids.tolist()), set(found.image_ids.tolist())
    hint = "the holdout depends on the seed; split=val is the same for all" if split == "holdout" else (
        "evaluate both on one data.root"
    )  # fmt: skip
    raise CompareError(
        f"{name}: scores {len(theirs):,} images of {split}, {first} {len(ours):,}, and they share "
        f"{len(ours & theirs):,}; a paired comparison needs the same images ({hint})"
    )
