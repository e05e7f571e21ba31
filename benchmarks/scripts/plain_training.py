"""The peer of ``src.train``: what one writes with Lightning and torchvision, everything at its default.

PIL, torchvision transforms, torchvision's mobilenet_v2 from scratch, BCE, Adam, torchmetrics, one epoch, val scored.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torchmetrics.classification as tm
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import models, transforms
from torchvision.datasets import CocoDetection

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Model(pl.LightningModule):
    """MobileNetV2 with 80 sigmoid outputs."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.network = models.mobilenet_v2(num_classes=num_classes)
        self.loss = torch.nn.BCEWithLogitsLoss()
        self.mean_ap = tm.MultilabelAveragePrecision(num_classes)
        self.f1_macro = tm.MultilabelF1Score(num_classes)
        self.f1_micro = tm.MultilabelF1Score(num_classes, average="micro")
        self.train_f1 = tm.MultilabelF1Score(num_classes, average="micro")

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002  Lightning's signature
        """Loss, logged with the running F1."""
        images, targets = batch
        logits = self.network(images)
        loss: Tensor = self.loss(logits, targets.float())
        self.train_f1(logits, targets)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log("train_f1", self.train_f1, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:  # noqa: ARG002
        """Metrics over the epoch."""
        images, targets = batch
        logits = self.network(images)
        for name in ("mean_ap", "f1_macro", "f1_micro"):
            metric = getattr(self, name)
            metric.update(logits, targets)
            self.log(f"val_{name}", metric)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def loader(root: Path, split: str, size: int, batch_size: int, workers: int) -> tuple[DataLoader[Any], int]:
    """Images and multi-hot targets of one split."""
    normalise = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    steps: list[Any] = [transforms.Resize((size, size))]
    if split == "train2017":
        steps += [transforms.RandomHorizontalFlip(), transforms.ColorJitter(brightness=0.2, contrast=0.2)]
    data = CocoDetection(
        str(root / split),
        str(root / "annotations" / f"instances_{split}.json"),
        transform=transforms.Compose([*steps, *normalise]),
    )
    column = {category: index for index, category in enumerate(sorted(data.coco.getCatIds()))}

    def multi_hot(annotations: list[dict[str, Any]]) -> Tensor:
        target = torch.zeros(len(column), dtype=torch.long)
        for annotation in annotations:
            target[column[annotation["category_id"]]] = 1
        return target

    data.target_transform = multi_hot
    data.transforms = None
    wrapped = _Transformed(data)
    return DataLoader(wrapped, batch_size, shuffle=split == "train2017", num_workers=workers), len(column)


class _Transformed(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """CocoDetection applies a target transform only when it is given at the start, and that needs its categories."""

    def __init__(self, data: CocoDetection) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, annotations = self.data[index]
        return self.data.transform(image), self.data.target_transform(annotations)


def main() -> None:
    """Train and score."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    wanted = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    pl.seed_everything(0)
    train, num_classes = loader(wanted.root, "train2017", wanted.size, wanted.batch_size, wanted.workers)
    val, _ = loader(wanted.root, "val2017", wanted.size, wanted.batch_size, wanted.workers)
    trainer = pl.Trainer(max_epochs=wanted.epochs, default_root_dir=wanted.output, enable_progress_bar=False)
    trainer.fit(Model(num_classes), train, val)


if __name__ == "__main__":
    main()
