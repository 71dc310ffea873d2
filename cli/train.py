"""`millrace train`: from the data sets to registered models, with what they must beat beside what they reach."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from app.errors import ConfigurationError

if TYPE_CHECKING:
    from app.registry import Registry
    from training.recipe import Metric, Recipe, Trained

console = Console()


def train(
    names: Annotated[list[str] | None, typer.Argument(help="models; all of them when none is named")] = None,
    data: Annotated[Path | None, typer.Option(help="directory of the data sets (MILLRACE_DATASETS)")] = None,
    sample: Annotated[float, typer.Option(min=0.001, max=1, help="fraction of the rows: a quick look")] = 1.0,
    promote: Annotated[bool, typer.Option(help="make what was trained the champion")] = False,
) -> None:
    """Train models from the data sets and register them, printing each figure beside its baseline and reference.

    A sample is measured and shown, but not registered: it is not the model anybody should be served.
    """
    from app.registry import open_registry
    from app.settings import read_settings

    settings = read_settings() if data is None else read_settings(datasets=data)
    if settings.datasets is None:
        raise ConfigurationError("MILLRACE_DATASETS: name the directory of the data sets (or give --data)")
    from training import recipe as recipes  # LightGBM and scikit-learn take seconds to import

    found = [recipes.find(name) for name in names or recipes.names()]
    registry = open_registry(settings)
    for one in found:
        _train(one, settings.datasets, registry if sample == 1 else None, sample, promote)


def _train(recipe: "Recipe", data: Path, registry: "Registry | None", sample: float, promote: bool) -> None:
    from training.recipe import Job
    from training.run import run

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(recipe.name, total=1)
        job = Job(data, sample=sample, progress=_bar(progress, task, recipe.name))
        if registry is None:
            trained = recipe.train(job)
            note = "a sample: not registered"
        else:
            version, trained = run(recipe, job, registry)
            if promote:
                registry.promote(recipe.name, version)
            note = _standing(registry, recipe.name, version)
    _show(recipe, trained, note)


def _bar(progress: Progress, task: TaskID, name: str) -> Callable[[str, float], None]:
    def show(what: str, done: float) -> None:
        progress.update(task, completed=done, description=f"{name}: {what}")

    return show


def _standing(registry: "Registry", name: str, version: str) -> str:
    from app.registry import CHAMPION

    if registry.index(name).aliases[CHAMPION] == version:
        return f"registered as version {version}, {CHAMPION}"
    return f"registered as version {version}; `millrace models promote {name} {version}` serves it"


def _show(recipe: "Recipe", trained: "Trained", note: str) -> None:
    size_kb = sum(map(len, trained.files.values())) / 1024
    table = Table(title=f"{recipe.name}: {trained.rows:,} rows, {size_kb:,.0f} kB; {note}", title_justify="left")
    for column in ("measure", "trained on → measured on", "ours", "baseline", "reference", ""):
        table.add_column(column, justify="right" if column in {"ours", "baseline", "reference"} else "left")
    for metric in trained.metrics:
        table.add_row(*_cells(metric))
    console.print(table)


def _cells(metric: "Metric") -> tuple[str, ...]:
    verdict = {True: "[green]met[/green]", False: "[red]not met[/red]", None: ""}[metric.meets]
    return (
        metric.name,
        metric.split + ("" if metric.served else " [dim](throwaway)[/dim]"),
        f"[bold]{metric.value:.4g}[/bold]",
        f"{metric.baseline:.4g} [dim]{metric.rule}[/dim]",
        "" if metric.reference is None else f"{metric.reference:g}",
        verdict,
    )
