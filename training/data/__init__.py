"""Loaders: the only place that knows what a data set's files look like."""
