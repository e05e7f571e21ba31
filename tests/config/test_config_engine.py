"""Engines and precisions that fit together."""

import pytest

from src.config.check import problems
from src.config.store import register


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["engine=openvino", "precision=int8"], []),
        (["engine=folded", "precision=bf16"], []),
        (["engine=auto", "precision=int8"], []),
        (["precision=int8"], ["precision=int8: not with engine=torch; engine=onnxruntime | openvino | auto"]),
        (
            ["engine=onnxruntime", "precision=bf16"],
            ["precision=bf16: not with engine=onnxruntime; engine=torch | folded | openvino | auto"],
        ),
        (
            ["engine=openvin"],
            [
                "engine=openvin: must be one of torch, folded, onnxruntime, openvino, auto; "
                "did you mean engine=openvino?"
            ],
        ),
        (
            ["calibration_images=3"],
            ["calibration_images=3: must be >= 32: ranges of activations are read from them"],
        ),
    ],
)  # fmt: skip
def test_evaluate__engine_and_precision(overrides: list[str], expected: list[str]) -> None:
    register()
    assert problems("evaluate", ["run=x", *overrides]) == expected


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["format=onnx", "precision=int8"], []),
        (["format=pt2", "precision=int8"], ["precision=int8: a .pt2 file is float32; format=onnx"]),
        (["format=pt2", "output=a.onnx"], ["output=a.onnx: must end in .pt2, or choose another format="]),
        (["format=onx"], ["format=onx: must be one of onnx, pt2; did you mean format=onnx?"]),
        (["precision=bf16"], ["precision=bf16: must be one of fp32, int8"]),
    ],
)
def test_export__format_precision_and_output(overrides: list[str], expected: list[str]) -> None:
    register()
    assert problems("export", ["run=x", *overrides])[:1] == expected[:1]
