"""Recipes: data -> the agents' own features -> artifact and report."""
