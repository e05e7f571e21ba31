import pytest
import torch

from src.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, Normalize


@pytest.fixture
def images():
    return torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_normalize__equals_the_definition(images, dtype):
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64).view(3, 1, 1)
    result = Normalize()(images.to(dtype))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), (images / 255.0 - mean) / std, atol=2e-6, rtol=0)


def test_normalize__float_input_is_not_changed(images):
    x = images.float()
    Normalize()(x)
    assert torch.equal(x, images.float())


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_normalize__keeps_the_memory_format(images, layout):
    assert Normalize()(images.contiguous(memory_format=layout)).is_contiguous(memory_format=layout)


def test_normalize__has_no_state():
    assert Normalize().state_dict() == {}
    assert Normalize().to("meta").scale.device.type == "meta"


def test_normalize__other_constants(images):
    result = Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))(images)
    torch.testing.assert_close(result, images.float() / 127.5 - 1)
