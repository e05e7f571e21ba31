"""What ends a command early: mistakes that the user can mend, and signals."""


class UserError(ValueError):
    """Something the user can mend; entry points show it in a line or a few, without a stack trace."""


class ConfigError(UserError):
    """A mistake in the configuration."""


class Interrupted(BaseException):
    """The run was asked to stop by a signal and has saved its state.

    Not an Exception: a sweep must not take it for a failed job and go on with the next one.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


class Pruned(BaseException):
    """A trial of a study was given up after an epoch because others were better by then.

    Not an Exception: nothing between the epoch and the study may take it for a failure.
    """

    def __init__(self, *, epochs: int, objective: float) -> None:
        super().__init__(epochs, objective)
        self.epochs, self.objective = epochs, objective
