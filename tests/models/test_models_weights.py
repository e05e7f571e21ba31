import os
import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision

from src.models.errors import ModelError
from src.models.mobilenet_v2 import MobileNetV2
from src.models.weights import load_weights

WIDTH = 0.25


def torchvision_state(num_classes: int = 1000, width: float = WIDTH, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    state = torchvision.models.mobilenet_v2(num_classes=num_classes, width_mult=width).state_dict()
    return {key: torch.rand(value.shape) if value.is_floating_point() else value for key, value in state.items()}


def saved(folder: Path, content: object) -> str:
    torch.save(content, folder / "weights.pth")
    return str(folder / "weights.pth")


@pytest.mark.parametrize("padding", ["torchvision", "seed"])
@pytest.mark.parametrize("output_stride", [4, 8, 16, 32])
def test_load_weights__body_at_every_layout_without_the_imagenet_head(tmp_path, output_stride, padding):
    state = torchvision_state()
    network = MobileNetV2(80, width=WIDTH, output_stride=output_stride, padding=padding)
    head = {key: value.clone() for key, value in network.classifier.state_dict().items()}
    load_weights(network, saved(tmp_path, state))
    body = {key: value for key, value in state.items() if key.startswith("features")}
    torch.testing.assert_close({k: v for k, v in network.state_dict().items() if k in body}, body, rtol=0, atol=0)
    torch.testing.assert_close(network.classifier.state_dict(), head, rtol=0, atol=0)


@pytest.mark.parametrize("classes", [7, 1000])
def test_load_weights__head_of_the_same_class_count(tmp_path, classes):
    state = torchvision_state(classes)
    network = MobileNetV2(classes, width=WIDTH)
    load_weights(network, saved(tmp_path, state))
    torch.testing.assert_close(dict(network.state_dict()), state, rtol=0, atol=0)


def test_load_weights__file_without_head_or_batch_counters(tmp_path):
    state = torchvision_state()
    slim = {k: v for k, v in state.items() if k.startswith("features") and not k.endswith("num_batches_tracked")}
    network = MobileNetV2(5, width=WIDTH)
    load_weights(network, saved(tmp_path, slim))
    assert torch.equal(network.state_dict()["features.0.1.running_mean"], state["features.0.1.running_mean"])


def test_load_weights__wrong_width_names_file_and_keys(tmp_path):
    path = saved(tmp_path, torchvision_state(width=0.5))
    with pytest.raises(
        ModelError, match=r"features\.0\.0\.weight is \[16, 3, 3, 3\] in the file, \[8, 3, 3, 3\]"
    ) as error:
        load_weights(MobileNetV2(80, width=WIDTH), path)
    assert path in str(error.value)
    assert "model.width" in str(error.value)
    assert "\n" not in str(error.value)


def test_load_weights__head_of_another_class_count_is_an_error(tmp_path):
    with pytest.raises(ModelError, match=r"classifier\.1\.weight is \[20, 1280\] in the file, \[80, 1280\]"):
        load_weights(MobileNetV2(80, width=WIDTH), saved(tmp_path, torchvision_state(20)))


def test_load_weights__missing_and_unknown_keys(tmp_path):
    state = torchvision_state()
    state["features.0.0.kernel"] = state.pop("features.0.0.weight")
    with pytest.raises(
        ModelError, match=r"2 keys do not fit, features\.0\.0\.weight is missing; features\.0\.0\.kernel is unkn"
    ):
        load_weights(MobileNetV2(80, width=WIDTH), saved(tmp_path, state))


def test_load_weights__a_refused_file_changes_nothing(tmp_path):
    state = torchvision_state()
    del state["features.18.0.weight"]
    network = MobileNetV2(80, width=WIDTH)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ModelError):
        load_weights(network, saved(tmp_path, state))
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": {"w": torch.ones(1)}, "epoch": 3}, "a dict of model, epoch"),
        ([torch.ones(1)], "a list"),
        ({}, "a dict"),
        (torch.ones(3), "a Tensor"),
    ],
)
def test_load_weights__not_a_state_dict(tmp_path, content, said):
    with pytest.raises(ModelError, match=f"holds {said}.*expected a state dict"):
        load_weights(MobileNetV2(80, width=WIDTH), saved(tmp_path, content))


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_load_weights__malicious_pickle_is_refused_unexecuted(tmp_path, writer):
    path, victim = tmp_path / "evil.pth", tmp_path / "owned"
    content = {"features.0.0.weight": Malicious(victim)}
    path.write_bytes(pickle.dumps(content, protocol=2)) if writer == "pickle" else torch.save(content, path)
    with pytest.raises(ModelError, match=r"evil\.pth: refused, not a plain file of tensors") as error:
        load_weights(MobileNetV2(80, width=WIDTH), str(path))
    assert not victim.exists()
    assert "\n" not in str(error.value)


def test_load_weights__missing_file_and_folder(tmp_path):
    with pytest.raises(ModelError, match=r"absent\.pth: no such file"):
        load_weights(MobileNetV2(80, width=WIDTH), str(tmp_path / "absent.pth"))
    with pytest.raises(ModelError, match="cannot be read"):
        load_weights(MobileNetV2(80, width=WIDTH), str(tmp_path))


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "text", "zeros"])
def test_load_weights__damaged_file(tmp_path, damage):
    path = tmp_path / "weights.pth"
    torch.save(torchvision_state(), path)
    whole = path.read_bytes()
    noise = torch.randint(0, 256, (4096,), generator=torch.Generator().manual_seed(0)).to(torch.uint8).numpy().tobytes()
    damaged = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "noise": noise,
        "text": b"<html>404</html>",
        "zeros": bytes(999),
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(ModelError, match="refused, not a plain file of tensors"):
        load_weights(MobileNetV2(80, width=WIDTH), str(path))


@pytest.mark.parametrize("failure", [URLError("no route"), RuntimeError("invalid hash value"), TimeoutError()])
def test_load_weights__imagenet_without_a_network_says_what_to_do(monkeypatch, failure):
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(ModelError, match=r"download from https://.*model\.weights=PATH"):
        load_weights(MobileNetV2(80), "imagenet")


def test_load_weights__imagenet_is_torchvisions_download(monkeypatch):
    state, asked = torchvision_state(width=1.0), []
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda url, **_: asked.append(url) or state)
    network = MobileNetV2(80)
    load_weights(network, "imagenet")
    assert asked == [torchvision.models.MobileNet_V2_Weights.DEFAULT.url]
    assert torch.equal(network.features[18][0].weight, state["features.18.0.weight"])


def test_load_weights__imagenet_of_another_width_is_refused_before_any_download():
    with pytest.raises(ModelError, match=r"model\.width=1\.0 only, not 0\.5"):
        load_weights(MobileNetV2(80, width=0.5), "imagenet")


@pytest.mark.real
def test_load_weights__real_imagenet_file():
    if "COCO_REAL" not in os.environ:
        pytest.skip("COCO_REAL is not set")
    path = Path(os.environ["COCO_REAL"]).parent.parent / "weights" / "mobilenet_v2_imagenet.pth"
    network = MobileNetV2(80, output_stride=16)
    load_weights(network, str(path))
    assert network.features[0][1].running_var.mean() != 1
