"""Where our duplicates and datatrove's differ on real text, and why: each difference in one class.

A share of agreement says nothing as long as nobody knows whether the rest is error or intent. Clusters are compared,
not documents: which document stands for its cluster is a matter of order in both. Costs a second for 12 MB, of which
the peer's shingles take most.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import xxhash
from datatrove.pipeline.dedup import MinhashDedupSignature

THRESHOLD = 0.8
Likeness = Callable[[str, str], float]

EXPLAINED = {
    "theirs joins what is not alike": "datatrove joins what shares a band and does not verify: .65 of pairs at .72 do",
    "theirs joins through others": "alike to a document that is dropped itself, not to any that is kept",
    "other units": "on one side of .8 by units, on the other by spaCy's tokens (numbers, hyphens, scripts)",
    "their bands miss it": "alike by both definitions; no band of theirs agrees (.08 of pairs at .80, .04 at .82)",
    "our bands miss it": "alike by both definitions; no band of ours agrees",
    "short, theirs skips it": "fewer than five tokens: datatrove makes no signature, and keeps every copy",
}


@dataclass(frozen=True)
class Agreement:
    """How many documents are decided the same but for who stands for a cluster, and the others by class, with one."""

    documents: int
    both: int
    ours: int
    theirs: int
    classes: Mapping[str, tuple[int, tuple[str, str]]]

    @property
    def share(self) -> float:
        """Of all documents."""
        return 1 - sum(count for count, _ in self.classes.values()) / self.documents


def their_likeness(texts: Mapping[str, str]) -> Likeness:
    """Jaccard of datatrove's shingles; of two texts without any, 0."""
    signing = MinhashDedupSignature("/nowhere")
    signing._hash_func = lambda text: xxhash.xxh64_intdigest(text.encode())

    @cache
    def shingles(identity: str) -> frozenset[int]:
        return frozenset(signing.get_shingles(texts[identity]).ravel().tolist())

    def jaccard(one: str, other: str) -> float:
        common = len(shingles(one) & shingles(other))
        return common / max(len(shingles(one) | shingles(other)), 1)

    return jaccard


def compare(
    ids: Sequence[str],
    partners: Mapping[str, str],
    clusters: Mapping[str, int],
    likeness: Likeness,
    theirs: Likeness,
) -> Agreement:
    """Sorts differences into classes.

    Args:
        ids: all documents.
        partners: of each document that ours drops, the kept one.
        clusters: of each document that theirs has in a cluster, which; theirs keeps one of each.
        likeness, theirs: Jaccard by our definition and by theirs.
    """
    members: dict[int, list[str]] = defaultdict(list)
    for identity, cluster in clusters.items():
        members[cluster].append(identity)
    found: Counter[str] = Counter()
    example: dict[str, tuple[str, str]] = {}

    def differs(why: str, one: str, other: str) -> None:
        found[why] += 1
        example.setdefault(why, (one, other))

    for together in members.values():
        # Ours keeps some of them; one stands for the cluster in theirs too, the others theirs drops and ours does not.
        stay = [one for one in together if one not in partners]
        for one in stay[1:]:
            nearest = max((other for other in stay if other != one), key=lambda other: likeness(one, other))
            if likeness(one, nearest) >= THRESHOLD:
                differs("our bands miss it", one, nearest)
            elif theirs(one, nearest) >= THRESHOLD:
                differs("other units", one, nearest)
            else:
                nearest = max((other for other in together if other != one), key=lambda other: theirs(one, other))
                through = theirs(one, nearest) >= THRESHOLD
                differs("theirs joins through others" if through else "theirs joins what is not alike", one, nearest)
    for one, partner in partners.items():
        if one in clusters and clusters[one] == clusters.get(partner):
            continue
        if one in clusters and any(other not in partners for other in members[clusters[one]]):
            continue  # its cluster keeps one in ours as in theirs
        if theirs(one, partner) >= THRESHOLD:
            differs("their bands miss it", one, partner)
        elif theirs(one, one) == 0:
            differs("short, theirs skips it", one, partner)
        else:
            differs("other units", one, partner)
    both = sum(one in clusters for one in partners)
    classes = {why: (count, example[why]) for why, count in found.most_common()}
    return Agreement(len(ids), both, len(partners), len(clusters) - len(members), classes)
