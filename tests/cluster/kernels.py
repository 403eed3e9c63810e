"""Has the workers of a test's cluster use the kernels that the checkout has compiled, not compile their own.

A driver ships its package to each node, whose copy has no compiled kernels: three nodes on two cores would compile for
a minute, in each cluster anew, what the driver beside them has compiled before. Costs a comparison of all modules a
worker, 0.1 s; one cluster, of test_ray.py, does without, so that compiling in a shipped package is seen to work.
"""

import functools
import os
import shutil
from pathlib import Path

from numba.core.caching import InTreeCacheLocator

NAME = "midtrain_kernels"  # of this module, where workers find it
CHECKOUT = "MIDTRAIN_TEST_CHECKOUT"
SHIPPED = "py_modules_files"  # Ray's folder of packages; in it a folder a package
ENVIRONMENT = {
    "NUMBA_CACHE_LOCATOR_CLASSES": f"{NAME}.OfCheckout,InTreeCacheLocator,UserWideCacheLocator",
    CHECKOUT: str(Path(__file__).parents[2]),
}


def put(folder: Path) -> dict[str, str]:
    """Puts this module into a folder that workers look for modules in; the environment that has them use it."""
    shutil.copyfile(__file__, folder / f"{NAME}.py")
    return ENVIRONMENT


class OfCheckout(InTreeCacheLocator):
    """Looks for the kernels of a shipped package beside the files of the checkout, if these are the same."""

    @classmethod
    def from_function(cls, py_func, py_file):
        """None where the function's file was not shipped; then the next locator is asked."""
        path, checkout = Path(py_file), Path(os.environ[CHECKOUT])
        if SHIPPED not in path.parts:
            return None
        package = Path(*path.parts[: path.parts.index(SHIPPED) + 3])  # below the package's hash, its name
        if not _is_that_of(package, checkout):
            return None
        return super().from_function(py_func, str(checkout / path.relative_to(package)))


@functools.cache
def _is_that_of(package: Path, checkout: Path) -> bool:
    """Whether all modules of a package are the checkout's. If so they get their times: older kernels are forgotten."""
    originals = {path: checkout / path.relative_to(package) for path in package.rglob("*.py")}
    if not all(same.exists() and same.read_bytes() == path.read_bytes() for path, same in originals.items()):
        return False
    for path, same in originals.items():
        shutil.copystat(same, path)
    return True
