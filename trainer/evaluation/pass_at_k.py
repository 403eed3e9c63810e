"""pass@k: how probable it is that one of k replies to a problem is right, estimated from n of them.

The best of k drawn replies would be a noisy estimate, and 1 - (1 - c/n)^k is too low; this one is unbiased and uses all
n (Chen et al., arXiv 2107.03374, equation 1). Costs k multiplications a problem.
"""

from collections.abc import Mapping, Sequence

from ...errors import ConfigError


def pass_at_k(n: int, right: int, k: int) -> float:
    """1 - C(n - right, k) / C(n, k), as a product of k factors of at most 1: nothing overflows or cancels.

    Args:
        n: replies to the problem.
        right: how many of them are right, at most n.
        k: 1 to n.
    """
    missed = 1.0
    for i in range(k):
        missed *= max(n - right - i, 0) / (n - i)
    return 1.0 - missed


def mean_pass_at_k(n: int, right: Sequence[int], ks: Sequence[int]) -> Mapping[int, float]:
    """The mean over problems for every k; `right` says how many of the n replies to each problem are right."""
    return {k: sum(pass_at_k(n, count, k) for count in right) / len(right) for k in ks}


def check_ks(ks: Sequence[int], n: int) -> None:
    """Whether n replies are enough for every k.

    Raises:
        ConfigError: they are not, a k stands twice or below 1, or there is none.
    """
    wrong = [k for k in ks if not 1 <= k <= n]
    if wrong:
        raise ConfigError(
            f"pass@{wrong[0]} cannot be estimated from {n} {'reply' if n == 1 else 'replies'} to a problem",
            where="k",
            seen=f"k {wrong[0]}, n {n}",
            expected="every k from 1 to n",
            fix=f"ask for n {wrong[0]} replies or more" if wrong[0] > 0 else "leave it out",
        )
    if not ks or len(set(ks)) < len(ks):
        raise ConfigError("k names no estimate, or one twice", where="k", seen=list(ks), expected="for example [1, 10]")
