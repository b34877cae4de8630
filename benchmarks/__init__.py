"""Measurements of the whole product, each beside its peer or its limit; `make bench` runs them."""
