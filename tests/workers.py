"""Processes of their own for tests, started in no time: forked from one that has imported the package."""

from __future__ import annotations

import multiprocessing

WORKERS = multiprocessing.get_context("forkserver")
# Neither the tests' threads nor their files are carried over: it starts with an interpreter of its own.
WORKERS.set_forkserver_preload(["consent", "hypothesis", "pytest", "user_agents"])
