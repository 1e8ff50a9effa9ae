"""What happens to all stores of a process: it forks, it ends."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import Protocol


class Forking(Protocol):
    """What has threads or connections that must not be in two processes."""

    def before_fork(self) -> None:
        """Come to rest. Called in the parent; one of the two below follows in each process."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Begin anew: threads, connections and what waits are the parent's."""

    def close(self) -> None:
        """Finish what waits, as the process ends. Blocks."""


class _Lifetime:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.members: weakref.WeakSet[Forking] = weakref.WeakSet()
        self.forking: list[Forking] = []

    def before_fork(self) -> None:
        self.lock.acquire()
        self.forking = list(self.members)
        for member in self.forking:
            member.before_fork()

    def after_fork_in_parent(self) -> None:
        for member in self.forking:
            member.after_fork_in_parent()
        self.forking = []
        self.lock.release()

    def after_fork_in_child(self) -> None:
        for member in self.forking:
            member.after_fork_in_child()
        self.forking = []
        self.lock = threading.Lock()

    def at_exit(self) -> None:
        with self.lock:
            members = list(self.members)
        for member in members:
            member.close()


_lifetime = _Lifetime()
os.register_at_fork(
    before=_lifetime.before_fork,
    after_in_parent=_lifetime.after_fork_in_parent,
    after_in_child=_lifetime.after_fork_in_child,
)
atexit.register(_lifetime.at_exit)


def attend(member: Forking) -> None:
    """Tell ``member`` of forks and of the process's end from now on, for as long as somebody else holds it."""
    with _lifetime.lock:
        _lifetime.members.add(member)
