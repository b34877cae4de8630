"""Fault drills of the whole product; each module says which one it is."""
