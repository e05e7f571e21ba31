"""What a training answers before torch is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from src.config.schema.data import AutoConfig
from src.config.schema.errors import UserError
from src.run.train_checks import check_config
from tests.conftest import ROOT, Compose


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("data=coco2017 data.root=nowhere", "data.root: no folder nowhere"),
        ("data.root=nowhere", "data.root: no folder nowhere"),
        ("model.weights=absent.pth", "model.weights=absent.pth: no such file; set a path, imagenet or null"),
    ],
)
def test_command__answers_a_wrong_path_without_torch_and_leaves_no_folder(
    tmp_path: Path, override: str, answer: str
) -> None:
    code = (
        f"import sys; sys.argv[1:] = {[*override.split(), f'output_dir={tmp_path}/out', f'cache_dir={tmp_path}']!r}\n"
        "from src import train\n"
        "try: train.main()\n"
        "except SystemExit as end: print(end.code, {'torch', 'cv2', 'pytorch_lightning'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "2 set()\n"
    assert answer in done.stderr
    assert not [*(tmp_path / "out").rglob("*/*")]


def test_check__passes_the_sample_an_untouched_root_and_torchvisions_own_weights(smoke: Compose) -> None:
    for overrides in ((), ("model.weights=imagenet",), ("data=auto",)):
        check_config(smoke(*overrides))


def test_check__passes_a_weights_file_that_is_there(smoke: Compose, tmp_path: Path) -> None:
    weights = tmp_path / "net.pth"
    config = smoke(f"model.weights={weights}")
    with pytest.raises(UserError, match=r"net\.pth: no such file"):
        check_config(config)
    weights.touch()
    check_config(config)


def test_check__of_the_default_data_is_that_of_coco_once_a_root_is_typed(smoke: Compose) -> None:
    config = smoke("data=auto")
    assert isinstance(config.data, AutoConfig)
    config.data.root = "nowhere"
    with pytest.raises(UserError, match="no folder nowhere"):
        check_config(config)
