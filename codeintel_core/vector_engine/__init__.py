"""A place for vectors outside of this machine (docs/decisions/0020): asked first where it holds a generation, never
needed. Nothing here is imported, nor its driver, while `vector_engine` is not set.
"""
