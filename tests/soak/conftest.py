"""These take minutes, and need a compiler and strace: `make soak` asks for them, `make test` does not."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("CONSENT_SOAK") else ["test_*.py"]
