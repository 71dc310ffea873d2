"""`millrace models`: what the registry holds, and which version is served."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from app.registry import Registry

app = typer.Typer(no_args_is_help=True, help="List the models and their versions, show a card, promote a version.")
console = Console()

Json = Annotated[bool, typer.Option("--json", help="for a script")]
Version = Annotated[str | None, typer.Option(help="a version or an alias; the champion when none is given")]


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """Every model: its versions, its aliases, its size, every file checked."""
    registry = _registry()
    rows: list[dict[str, Any]] = []
    for name in registry.names():
        index = registry.index(name)
        for version in index.versions:
            artifact = registry.load(name, version)
            aliases = [alias for alias, target in index.aliases.items() if target == version]
            size = sum(file.stat().st_size for file in artifact.directory.iterdir())
            rows.append({"model": name, "version": version, "aliases": aliases, "bytes": size})
    if as_json:
        _say_json(rows)
        return
    table = Table("model", "version", "alias", title=f"Models in {registry.root}", title_justify="left")
    table.add_column("size", justify="right")
    for row in rows:
        table.add_row(row["model"], row["version"], ", ".join(row["aliases"]), f"{row['bytes'] / 1024:,.0f} kB")
    console.print(table)


@app.command()
def card(name: str, version: Version = None) -> None:
    """The model card: what it does, how well, from which data, and where not to trust it."""
    from rich.markdown import Markdown

    console.print(Markdown(_registry().load(name, version).card()))


@app.command()
def metrics(name: str, version: Version = None, as_json: Json = False) -> None:
    """The figures it was registered with, beside their baselines and references."""
    recorded = _registry().load(name, version).manifest["metrics"]
    if as_json:
        _say_json(recorded)
        return
    table = Table("measure", "split", "ours", "baseline", "reference", title=name, title_justify="left")
    for metric in recorded:
        reference = "" if metric["reference"] is None else f"{metric['reference']:g}"
        ours, baseline = (f"{metric[figure]:.4g}" for figure in ("value", "baseline"))
        table.add_row(metric["name"], metric["split"], ours, baseline, reference)
    console.print(table)


@app.command()
def promote(
    name: str,
    version: str,
    alias: Annotated[str | None, typer.Option(help="which alias; the champion by default")] = None,
) -> None:
    """Serve this version from now on: workers started after this load it."""
    from app.registry import CHAMPION

    registry, alias = _registry(), alias or CHAMPION
    registry.promote(name, version, alias)
    console.print(f"{name}: {alias} is version {registry.resolve(name, alias)}")


def _registry() -> "Registry":
    """Loaded when a command is run: numpy comes with it, and `millrace --help` shall answer at once."""
    from app.registry import open_registry
    from app.settings import read_settings

    return open_registry(read_settings())


def _say_json(what: object) -> None:
    import msgspec

    typer.echo(msgspec.json.encode(what))
