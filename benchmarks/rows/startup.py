"""What a mistake, a question and a first look cost: CPU seconds of whole processes, whatever the clock asked for."""

from benchmarks.findings import Finding, seconds
from benchmarks.measuring import interleave, python, run_process
from benchmarks.settings import Settings

PEER = "script that imports everything first"
TYPO, HELP, CONFIG = ("optimizer.learning_rate=1",), ("--help",), ("--cfg", "job")


def measure_start_up(settings: Settings) -> list[Finding]:
    """CPU seconds of whole processes, Python's own start included."""
    questions = (("a typo is answered", TYPO, 0.5), ("--help", HELP, 1.0), ("--cfg job", CONFIG, 1.0))
    wanted = questions[:1] if settings.small else questions
    return [_measure(settings, what, words, limit) for what, words, limit in wanted]


def _measure(settings: Settings, what: str, words: tuple[str, ...], limit: float) -> Finding:
    refused = 2 if words == TYPO else 0
    turns = interleave(
        lambda: run_process(python("-m", "src.train", *words), expect=(refused,)),
        lambda: run_process(python("-m", "benchmarks.scripts.import_everything", *words), expect=(0, 1)),
        repeats=settings.repeats,
        warmup=0 if settings.small else 1,  # writes the byte code
    )
    return Finding(row="start-up", what=what, peer=PEER, rule="limit", target=limit, **seconds(turns, "cpu"))
