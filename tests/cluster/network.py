"""A network of its own for a few nodes on one machine: a namespace a node, and a bridge in one more.

A link that is cut is told from a process that dies only by a network, and nothing of the machine's own may change.
Costs a dozen calls of `ip`; everything is gone when the block ends.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NAMESPACES = Path("/run/netns")
PREFIX = "10.213.77"  # only these namespaces see it


@dataclass(frozen=True)
class Place:
    """Where a node runs: its address, and the words that go before a command that is to run there."""

    address: str
    enter: tuple[str, ...] = ()


class Network:
    """Places for nodes. Without namespaces they are loopback addresses, which have no links to cut."""

    def __init__(self, places: list[Place], name: str = "") -> None:
        self.places = places
        self.name = name

    @property
    def links(self) -> bool:
        """Whether a link can be cut."""
        return bool(self.name)

    def link(self, node: int, up: bool) -> None:
        """Cuts a node's link, without a word to anybody who is connected, or mends it."""
        _ip("-n", f"{self.name}b", "link", "set", f"p{node}", "up" if up else "down")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _permitted(name: str) -> str:
    """Why no namespace can be made here; empty where one can."""
    try:
        _ip("netns", "add", f"{name}b")
        subprocess.run(["nsenter", f"--net={NAMESPACES}/{name}b", "true"], check=True, capture_output=True, text=True)
    except FileNotFoundError as missing:
        return f"{missing.filename} is not installed"
    except subprocess.CalledProcessError as refused:
        return str(refused.stderr).strip()
    return ""


@contextlib.contextmanager
def network(nodes: int) -> Iterator[tuple[Network, str]]:
    """A network of so many nodes for the block, and why it has no links where it has none."""
    name = f"mt{os.getpid()}"
    try:
        if why := _permitted(name):
            yield Network([Place(f"127.0.0.{node + 2}") for node in range(nodes)]), why
            return
        _ip("-n", f"{name}b", "link", "add", "br0", "type", "bridge")
        _ip("-n", f"{name}b", "link", "set", "br0", "up")
        yield Network([_attach(name, node) for node in range(nodes)], name), ""
    finally:
        for suffix in ("b", *range(nodes)):  # a pair of interfaces goes with the namespace of either end
            if (NAMESPACES / f"{name}{suffix}").exists():
                _ip("netns", "del", f"{name}{suffix}")


def _attach(name: str, node: int) -> Place:
    own, bridge, address = f"{name}{node}", f"{name}b", f"{PREFIX}.{node + 1}"
    _ip("netns", "add", own)
    _ip("-n", own, "link", "add", "eth0", "type", "veth", "peer", "name", f"p{node}", "netns", bridge)
    _ip("-n", bridge, "link", "set", f"p{node}", "master", "br0")
    _ip("-n", bridge, "link", "set", f"p{node}", "up")
    _ip("-n", own, "address", "add", f"{address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _ip("-n", own, "link", "set", device, "up")
    # Leads nowhere; Ray asks the kernel for the way to a public address to learn its own.
    _ip("-n", own, "route", "add", "default", "dev", "eth0")
    return Place(address, ("nsenter", f"--net={NAMESPACES}/{own}"))
