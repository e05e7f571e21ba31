"""Keeps loader processes of the validation split small."""

import pytorch_lightning as pl

from src.process import release_freed_memory


class TrimBeforeFork(pl.Callback):
    """Gives freed activations back before the first validation, when its persistent loader processes are forked."""

    def __init__(self) -> None:
        self._done = False

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Once is enough: the processes stay."""
        if not self._done:
            release_freed_memory()
            self._done = True
