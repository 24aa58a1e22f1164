"""CLIP models: create, load weights that nobody trusts, encode pictures and captions."""
