"""The command line: it sits above every other package (docs/decisions/0001)."""

import os

# One thread per process, said before anything imports numpy: the parts are scaled as processes, and a pool of threads in
# each of them would fight over the cores.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
