"""One recipe per model, in a module of the model's name; modules beginning with `_` are shared between them."""
