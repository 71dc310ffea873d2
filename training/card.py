"""The model card: what a model is, in plain words, generated from what its recipe measured (Mitchell et al. 2019)."""

from collections.abc import Mapping

from training.recipe import Metric, Recipe, Trained

_VERDICT = {True: "met", False: "**not met**", None: "–"}


def card(recipe: Recipe, trained: Trained, data: Mapping[str, str]) -> str:
    """Markdown: what it does, how well beside which baseline, from which data, under which terms, and its limits."""
    size_kb = sum(map(len, trained.files.values())) / 1024
    reading = (
        "*Baseline* is the rule a person would use without a model; *reference* is the figure to beat on the same "
        "split. A row marked *throwaway* measures the same recipe trained on that split only, not the served model."
    )
    files = (
        f"Files: {', '.join(f'`{file}`' for file in trained.files)}, {size_kb:,.0f} kB in all. "
        "`manifest.json` has the checksums, the code revision, the seed and the exact figures."
    )
    parts = [
        f"# {recipe.name}",
        trained.about,
        "## How good it is",
        _table(trained),
        reading,
        "## How it was trained",
        f"{trained.rows:,} rows. {trained.split}",
        "## Data and licence",
        "\n".join(f"- `{file}`, SHA-256 `{checksum[:16]}…`" for file, checksum in data.items()),
        recipe.licence,
        "## Limits",
        "\n".join(f"- {limit}" for limit in trained.limits),
        "## What it reads",
        f"{', '.join(f'`{name}`' for name in trained.features) or 'Text, hashed.'}",
        files,
    ]
    return "\n\n".join(parts) + "\n"


def _table(trained: Trained) -> str:
    head = "| measure | trained on → measured on | ours | baseline | reference | |\n|---|---|--:|--:|--:|---|"
    return "\n".join([head, *map(_row, trained.metrics)])


def _row(metric: Metric) -> str:
    reference = "–" if metric.reference is None else f"{metric.reference:g}"
    split = metric.split if metric.served else f"{metric.split} *(throwaway)*"
    return (
        f"| {metric.name} | {split} | **{metric.value:.4g}** | {metric.baseline:.4g} ({metric.rule}) "
        f"| {reference} | {_VERDICT[metric.meets]} |"
    )
