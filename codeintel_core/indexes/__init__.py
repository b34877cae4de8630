"""The indexes of a generation: dense (FAISS), lexical (Lucene) and what is needed to build and ask them."""

import os

# Read when FAISS loads its OpenMP: threads that wait for work by spinning take the cores from those that have some.
# Beside other work, the training of a primary over 100,000 vectors took 33 CPU-seconds and 120 by the clock; waiting
# quietly, 4.7 and 22.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
