"""Carries a recipe out: train, then write artifact, manifest and card into a registry; `cli.train` shows it."""

import hashlib
import importlib.metadata
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.registry import Registry
from training.card import card
from training.recipe import Job, Recipe, Trained

# Their versions decide the bits of what is trained.
LIBRARIES = ("lightgbm", "numpy", "scikit-learn", "scipy")


def run(recipe: Recipe, job: Job, registry: Registry) -> tuple[str, Trained]:
    """Train, and register the result; gives the version and what was trained.

    Raises `ConfigurationError` when a data file is missing.
    """
    data = checksums(job, recipe.data)
    trained = recipe.train(job)
    manifest = manifest_of(recipe, job, trained, data)
    version = registry.register(recipe.name, trained.files, manifest, card(recipe, trained, data))
    return version, trained


def manifest_of(recipe: Recipe, job: Job, trained: Trained, data: dict[str, str]) -> dict[str, Any]:
    """Everything needed to make the artifact again, and to judge it."""
    return {
        "model": recipe.name,
        "data": data,
        "licence": recipe.licence,
        "code": revision(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "seed": job.seed,
        "sample": job.sample,
        "rows": trained.rows,
        "split": trained.split,
        "features": list(trained.features),
        "metrics": [{**asdict(metric), "meets": metric.meets} for metric in trained.metrics],
        **trained.extra,
    }


def checksums(job: Job, files: Sequence[str]) -> dict[str, str]:
    """File -> SHA-256 of its bytes. Raises `ConfigurationError` for one that is missing."""
    return {file: hashlib.sha256(job.path(file).read_bytes()).hexdigest() for file in files}


def revision() -> str | None:
    """The commit of the code that trains, `+` when it was changed since; `None` outside a checkout."""
    root = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ".", "../agents/*.py", "../app/agent.py")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
