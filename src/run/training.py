"""One training run, from a job to a finished run folder."""

import logging
import math
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.loggers import Logger
from rich.console import Console

from src.callbacks.checkpoint_io import AtomicCheckpointIO, load_checkpoint
from src.callbacks.checkpoints import RunCheckpoint, progress
from src.callbacks.ema import EMA, decay_per_step
from src.callbacks.loaders import StartLoaders
from src.callbacks.numerics import WatchNumerics
from src.callbacks.progress import EpochBar, epoch_line
from src.callbacks.records import EpochRecords
from src.callbacks.signals import StopOnSignal
from src.config.schema.errors import Interrupted, Pruned, UserError
from src.config.schema.root import Job, TrainConfig
from src.config.schema.variants import to_plain
from src.data.datamodule import MultiLabelDataModule
from src.process import is_first_process, keep_freed_memory
from src.report.tables import console
from src.run.assembly import build_data, build_task, resolve
from src.run.banner import COCO_CLASSES, banner
from src.run.batch_size import choose_batch_size
from src.run.compilation import check_compile, compiled_forward
from src.run.environment import describe_environment
from src.run.failures import leaving_nothing
from src.run.finish import Outcome, finish
from src.run.hardware import Hardware, choose
from src.run.loggers import build_loggers
from src.run.preparation import resolve_cache, resolve_decode
from src.runfolder import Record, RunFolder, replacing
from src.runhold import holding
from src.task import MultiLabelTask

OnEpoch = Callable[[int, float], None]
"""Gets the epoch, from 0, and its objective, before the epoch's checkpoint is written."""


def train(job: Job, *, on_epoch: OnEpoch | None = None) -> float:
    """Train, score, write the run folder.

    Args:
        job: what to train, and where.
        on_epoch: told of each epoch; may raise Pruned, which ends the run with status ``pruned``.

    Returns:
        The objective of the best epoch on the monitored split, for sweeps.

    Raises:
        UserError: anything the user can mend; the folder is kept with status ``failed`` once training began.
        RunHeldError: another process trains this run; its folder is left alone.
        Interrupted: after a signal; ``resume=FOLDER`` goes on.
        Pruned: by ``on_epoch``.
    """
    keep_freed_memory()
    _quiet_libraries()
    folder = RunFolder(job.folder)
    _refuse_taken(folder, job)
    with leaving_nothing(folder), _held(folder):
        return _train(job, folder, on_epoch)


def _train(job: Job, folder: RunFolder, on_epoch: OnEpoch | None) -> float:
    config = job.config
    hardware, data, task, batch_reason = _prepare(config)
    if is_first_process():
        _open(folder, job, hardware, data)
        console().print(banner(config, data, task, hardware, folder.path, batch_reason, resumed=_resumed(job, folder)))
    started = time.perf_counter()
    try:
        loggers = build_loggers(config.logger, folder.path, name=config.name)
        outcome = _fit(config, folder, data, task, hardware, loggers, resumed=job.resumed, on_epoch=on_epoch)
        if task.global_rank == 0:
            seconds = time.perf_counter() - started
            finish(config, folder, data, hardware, outcome, seconds=seconds, loggers=loggers)
    except BaseException as error:
        _note_end(folder, error, config, started)
        raise
    return outcome.objective


def _prepare(config: TrainConfig) -> tuple[Hardware, MultiLabelDataModule, MultiLabelTask, str]:
    wish = config.trainer
    hardware = choose(
        device=wish.device, precision=wish.precision, num_threads=wish.num_threads, num_workers=config.data.num_workers
    )
    check_compile(config, hardware)
    if hardware.device == "cpu":  # sums depend on it in their last bits: a resumed run takes what config.yaml says
        wish.num_threads = hardware.threads
    resolve(config)
    batch_reason = ""
    if not config.data.batch_size:
        size = config.data.image_size
        chosen = choose_batch_size(config.model, num_classes=COCO_CLASSES, image_size=size, hardware=hardware)
        config.data.batch_size, batch_reason = chosen.batch_size, chosen.reason
    notes = [resolve_cache(config), resolve_decode(config, hardware)]
    data = build_data(config, hardware, cache_note="; ".join(filter(None, notes)))
    return hardware, data, build_task(config, data), batch_reason


def _fit(
    config: TrainConfig,
    folder: RunFolder,
    data: MultiLabelDataModule,
    task: MultiLabelTask,
    hardware: Hardware,
    loggers: list[Logger],
    *,
    resumed: bool,
    on_epoch: OnEpoch | None,
) -> Outcome:
    checkpoint = RunCheckpoint(
        folder,
        objective=f"{data.monitor_split}/{config.objective}",
        every_steps=config.callbacks.checkpoint_steps,
        patience=config.callbacks.early_stopping,
        margin=config.callbacks.best_margin,
    )
    shown = console()
    records = EpochRecords(folder, _announcer(config, data.monitor_split, shown, on_epoch))
    if config.trainer.compile != "off":
        batch_size = config.data.batch_size
        task.train_through(compiled_forward(task.model, config.trainer.compile, batch_size=batch_size))
    trainer = pl.Trainer(
        accelerator="gpu" if hardware.device == "cuda" else "cpu",
        devices=config.trainer.devices,
        strategy="auto" if config.trainer.devices == 1 else "ddp",
        precision=hardware.precision,
        max_epochs=config.trainer.max_epochs,
        accumulate_grad_batches=config.trainer.accumulate,
        gradient_clip_val=config.trainer.gradient_clip or None,
        callbacks=_callbacks(config, data, records, checkpoint, shown),
        plugins=[AtomicCheckpointIO()],
        logger=loggers,
        num_sanity_val_steps=0,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=0,
        default_root_dir=folder.path,
    )
    resume_from = folder.last if resumed and folder.last.is_file() else None
    if resume_from:
        data.resume_at(*progress(load_checkpoint(resume_from)))
    trainer.fit(task, datamodule=data, ckpt_path=resume_from, weights_only=True)
    return Outcome(
        objective=checkpoint.best_score,
        best_epoch=checkpoint.best_epoch,
        train_seconds=records.train_seconds,
        train_images=records.train_images,
        skipped=task.skipped,
        epochs=records.epochs,
        earlier_seconds=records.earlier_seconds,
    )


def _callbacks(
    config: TrainConfig,
    data: MultiLabelDataModule,
    records: EpochRecords,
    checkpoint: RunCheckpoint,
    shown: Console,
) -> list[pl.Callback]:
    """In the order Lightning calls them: average, check, record, show, save, stop."""
    wanted = config.callbacks.progress
    callbacks: list[pl.Callback] = [StartLoaders(), WatchNumerics(), records]
    if wanted == "rich" or (wanted == "auto" and shown.is_terminal):
        callbacks.append(EpochBar(shown))
    if config.callbacks.ema:
        images_per_step = config.data.batch_size * config.trainer.devices * config.trainer.accumulate
        steps = math.ceil(data.images_per_epoch / images_per_step)
        callbacks.insert(0, EMA(decay_per_step(config.callbacks.ema_decay, steps)))
    return [*callbacks, checkpoint, StopOnSignal(checkpoint)]


def _announcer(
    config: TrainConfig, monitor_split: str, shown: Console, on_epoch: OnEpoch | None
) -> Callable[[Record], None]:
    """Prints the line an epoch leaves behind, on the bar's console: another would write into the bar."""
    shown.quiet = config.callbacks.progress == "none"

    def announce(record: Record) -> None:
        shown.print(epoch_line(record, max_epochs=config.trainer.max_epochs, monitor_split=monitor_split))
        if on_epoch:
            on_epoch(int(record["epoch"]), float(record[f"{monitor_split}/{config.objective}"]))

    return announce


def _held(folder: RunFolder) -> AbstractContextManager[None]:
    if not is_first_process():
        return nullcontext()
    folder.path.mkdir(parents=True, exist_ok=True)
    return holding(folder.path, on_wait=console().print)


def _refuse_taken(folder: RunFolder, job: Job) -> None:
    """A folder that holds another run is never overwritten."""
    if is_first_process() and not job.resumed and (folder.path / "config.yaml").exists():
        raise UserError(f"{folder.path}: already holds a run; resume={folder.path} continues it")


def _resumed(job: Job, folder: RunFolder) -> str:
    """Where a resumed run goes on; empty for a new one."""
    if not job.resumed:
        return ""
    if not folder.last.is_file():
        return "from the start: nothing was saved"
    epoch, batches = progress(load_checkpoint(folder.last))
    return f"in epoch {epoch + 1} after {batches} batches" if batches else f"after {epoch} epoch{'s' * (epoch != 1)}"


def _open(folder: RunFolder, job: Job, hardware: Hardware, data: MultiLabelDataModule) -> None:
    """Write what the run is before it starts."""
    folder.path.mkdir(parents=True, exist_ok=True)
    with replacing(folder.path / "config.yaml", "w") as file:
        yaml.safe_dump(to_plain(job.config), file, sort_keys=False)
    if not job.resumed:
        (folder.path / "overrides.yaml").write_text(yaml.safe_dump(job.overrides))
    environment = describe_environment(
        hardware, data_name=data.source.name, is_sample=data.source.is_sample, fingerprint=data.fingerprint
    )
    folder.write_json("env.json", environment | {"cache": data.cache_note})


def _note_end(folder: RunFolder, error: BaseException, config: TrainConfig, started: float) -> None:
    content: dict[str, Any] = {"name": config.name, "status": "failed", "error": f"{type(error).__name__}: {error}"}
    stopped = isinstance(error, Interrupted | KeyboardInterrupt | SystemExit)
    if stopped and not is_first_process():  # told to all, noted once
        return
    if stopped:
        content |= {"status": "interrupted", "error": ""}
    if isinstance(error, Pruned):
        content |= {"status": "pruned", "error": "", "objective": error.objective, "epochs": error.epochs}
    folder.write_json("summary.json", {**content, "seconds": round(time.perf_counter() - started, 2)})
    if stopped:
        console().print(f"interrupted; go on with   python -m src.train resume={folder.path}")
    elif content["status"] == "failed" and folder.last.is_file():
        error.add_note(f"once that is mended, go on with   python -m src.train resume={folder.path}")


def _quiet_libraries() -> None:
    """Lightning's advice is about what we decided ourselves; its warnings about real trouble stay."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for pattern in (
        ".*does not have many workers.*",
        ".*You're resuming from a checkpoint that ended before the epoch ended.*",  # our order is exact
        ".*Found .* module.s. in eval mode at the start of training.*",  # frozen stages
        ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
        ".*is smaller than the logging interval.*",  # loggers get epochs, not steps
    ):
        warnings.filterwarnings("ignore", pattern)
    torch.set_float32_matmul_precision("high")
