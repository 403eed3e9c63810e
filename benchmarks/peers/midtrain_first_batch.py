"""The first batch of a process that has just begun: `midtrain_first_batch.py BUILT PHASE FIRST SEQUENCES`.

Tells as JSON the seconds of the imports (numpy, Numba, Arrow), of opening the mixture, and of its first batch, in which
Numba loads its kernels from their cache.
"""

import json
import sys
import time

started = time.perf_counter()

from midtrain.mixtures.built import Built  # noqa: E402

imported = time.perf_counter()
built = Built.open(sys.argv[1])
opened = time.perf_counter()
first = next(built.batches(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
read = time.perf_counter()
print(
    json.dumps(
        {
            "imports": imported - started,
            "open": opened - imported,
            "batch": read - opened,
            "first": first.first_index,
            "rows": len(first.tokens),
        }
    )
)
