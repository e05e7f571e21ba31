"""The LightningModule: a step, and what is scored at the end of an epoch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric

from src.config.schema.model import ModelConfig
from src.config.schema.optim import OptimizerConfig, SchedulerConfig
from src.engines.parts import in_parts
from src.metrics.counts import CountMeter
from src.metrics.functional import score_report
from src.metrics.loss import MeanLoss
from src.metrics.scores import ScoreStore
from src.models.classifier import Classifier
from src.models.freeze import unfreeze
from src.optim.build import Schedule, build_optimizer, build_schedule
from src.optim.groups import param_groups

FitReport = Callable[[NDArray[np.float32], NDArray[np.uint8]], dict[str, float]]


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """What the task must know of the data, and what goes into every checkpoint as plain values."""

    class_names: tuple[str, ...]
    frequency_groups_C: NDArray[np.int64]
    """0 head, 1 mid, 2 tail, by count in train."""
    monitor_split: str
    """Split scored after each epoch, by which the best one is chosen."""
    seed: int
    stamp: Mapping[str, Any]
    """Plain values that name the model: configuration, class names, image size."""


class MultiLabelTask(pl.LightningModule):
    """Trains a classifier and scores it each epoch from exact counts and scores, never from batch averages.

    Every random number of a step (dropout) is drawn from a generator seeded by (seed, step, process), so that a resumed
    run continues as if it had never stopped.

    Args:
        model: uint8 images to logits.
        loss: (logits_BC, targets_BC) to a scalar.
        info: classes, groups and what to stamp on checkpoints.
        model_cfg: freezing schedule.
        optimizer_cfg: optimizer and its groups.
        scheduler_cfg: learning-rate schedule.
        tuned: scores at thresholds fitted on the very split given; optimistic, for curves and choice.
        objective: metric name that the plateau schedule follows.
    """

    def __init__(
        self,
        model: Classifier,
        loss: nn.Module,
        info: TaskInfo,
        *,
        model_cfg: ModelConfig,
        optimizer_cfg: OptimizerConfig,
        scheduler_cfg: SchedulerConfig,
        tuned: FitReport,
        objective: str,
    ) -> None:
        super().__init__()
        self.model, self.loss, self.info = model, loss, info
        self.model_cfg, self.optimizer_cfg, self.scheduler_cfg = model_cfg, optimizer_cfg, scheduler_cfg
        self.tuned, self.objective = tuned, objective
        num_classes = len(info.class_names)
        self.train_loss = MeanLoss()
        self.train_counts = CountMeter(num_classes, groups_C=info.frequency_groups_C)
        self.monitor_scores, self.val_scores = ScoreStore(num_classes), ScoreStore(num_classes)
        self.skipped: set[tuple[str, int]] = set()
        self._schedule: Schedule | None = None
        self._plateau_state: dict[str, Any] | None = None
        self._forward: Callable[[Tensor], Tensor] | None = None

    def train_through(self, forward: Callable[[Tensor], Tensor]) -> None:
        """Let training steps call ``forward``, a compiled ``model``, whose outputs need only live until the next call.

        A function and no module: that would be registered, and every weight saved twice.
        """
        self._forward = forward

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """uint8 images to logits [B, C]."""
        logits_BC: Tensor = self.model(images_BCHW)
        return logits_BC

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed this step's dropout."""
        words = (self.info.seed, self.current_epoch, batch_idx, self.global_rank)
        _seed(int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1), self.device)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor | None:
        """Loss of one batch; None where every image of it was broken and skipped."""
        self._note_skipped("train", batch)
        if not len(batch["image"]):
            return None
        logits_BC = (self._forward or self)(batch["image"])
        loss: Tensor = self.loss(logits_BC, batch["target"])
        self.train_loss.update(loss.detach(), len(batch["image"]))
        self.train_counts.update(logits_BC.detach().float().sigmoid(), batch["target"])
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collect exact scores; the first loader is the monitored split, a second one is val."""
        self._note_skipped("val" if dataloader_idx else self.info.monitor_split, batch)
        store = self.val_scores if dataloader_idx else self.monitor_scores
        if len(batch["image"]):
            logits_BC = in_parts(self, batch["image"])
            store.update(logits_BC.float().sigmoid(), batch["target"], batch["image_id"])

    def on_validation_epoch_end(self) -> None:
        """Score the epoch: train by counts, the monitored split (and val, where read) by exact scores."""
        metrics = {"train/loss": self.train_loss.compute().item()}
        metrics |= _prefixed("train", self.train_counts.compute())
        self.train_loss.reset()
        self.train_counts.reset()
        stores = {self.info.monitor_split: self.monitor_scores}
        if len(self.trainer.val_dataloaders or ()) > 1:
            stores["val"] = self.val_scores
        for split, store in stores.items():
            metrics |= _prefixed(split, self._report(store))
            store.reset()
        values = {key: torch.tensor(value, dtype=torch.float32) for key, value in metrics.items()}
        self.log_dict(values, logger=False)  # the record of the epoch goes to the loggers, once

    def on_train_epoch_start(self) -> None:
        """Let frozen stages train from the configured epoch on."""
        self._thaw()

    def on_train_epoch_end(self) -> None:
        """Step the plateau schedule here, before the checkpoint is written, so that a resume does not lose the step."""
        if self._schedule is not None and isinstance(self._schedule.scheduler, ReduceLROnPlateau):
            objective = float(self.trainer.callback_metrics[f"{self.info.monitor_split}/{self.objective}"])
            self._schedule.scheduler.step(objective)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimizer over decay and head groups, and its schedule per step."""
        groups = param_groups(self.model, head=self.model.head, cfg=self.optimizer_cfg)
        clipped_mixed = bool(self.trainer.gradient_clip_val) and self.trainer.precision.endswith("mixed")
        optimizer = build_optimizer(self.optimizer_cfg, groups, fused=not clipped_mixed)
        total_steps = int(self.trainer.estimated_stepping_batches)
        steps_per_epoch = max(1, total_steps // max(1, self.trainer.max_epochs or 1))
        self._schedule = build_schedule(
            self.scheduler_cfg, optimizer, total_steps=total_steps, steps_per_epoch=steps_per_epoch
        )
        if self._schedule.monitored:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self._schedule.scheduler, "interval": self._schedule.interval},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what names the model, and the state Lightning does not know of."""
        checkpoint["stamp"] = dict(self.info.stamp)
        if self.trainer.world_size == 1:  # of several processes only the first one's share would be saved
            checkpoint["train_meters"] = [_states(meter) for meter in (self.train_loss, self.train_counts)]
        if self._schedule is not None and self._schedule.monitored:
            checkpoint["plateau"] = self._schedule.scheduler.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the plateau schedule's state until the schedule exists; go on counting the epoch that was cut."""
        self._plateau_state = checkpoint.get("plateau")
        for meter, states in zip(
            (self.train_loss, self.train_counts), checkpoint.get("train_meters", ()), strict=False
        ):
            for name, value in states.items():
                setattr(meter, name, value.to(self.device))

    def on_train_start(self) -> None:
        """Take up a resumed run: the plateau schedule's state, and stages unfrozen before."""
        if self._plateau_state is not None and self._schedule is not None:
            self._schedule.scheduler.load_state_dict(self._plateau_state)
        self._thaw()

    def _thaw(self) -> None:
        if 0 <= self.model_cfg.unfreeze_epoch <= self.current_epoch:
            unfreeze(self.model)

    def _report(self, store: ScoreStore) -> dict[str, float]:
        scores_NC, targets_NC, _ = store.compute()
        report = score_report(scores_NC.cpu(), targets_NC.cpu(), groups_C=self.info.frequency_groups_C)
        return report | self.tuned(scores_NC.cpu().numpy(), targets_NC.cpu().numpy())

    def _note_skipped(self, split: str, batch: Mapping[str, Tensor]) -> None:
        self.skipped.update((split, row) for row in batch["skipped"].tolist())


def _seed(seed: int, device: torch.device) -> None:
    """As ``torch.manual_seed`` for the generators that a step on ``device`` draws from.

    ``torch.manual_seed`` also notes the seed, each time with a formatted stack trace, for every kind of device that was
    never used: 0.22 ms of CPU time (more below a deep stack) where this takes 0.002; medians of 5 x 300 calls.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _prefixed(split: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{split}/{name}": float(value) for name, value in metrics.items()}


def _states(meter: Metric) -> dict[str, Tensor]:
    """What a meter has added up; torchmetrics keeps its states out of state dicts."""
    return {name: getattr(meter, name).detach().cpu() for name in meter._defaults}
