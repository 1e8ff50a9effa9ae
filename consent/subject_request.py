"""What somebody asks about their data, and how far the answer has come. Values only; the office keeps the register."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

MAX_NAME: Final = 200
"""Characters of a name."""
MAX_CONTACT: Final = 300
"""Characters of where the answer goes."""
MAX_DETAILS: Final = 4_000
"""Characters of what somebody wrote besides."""


class RequestKind(StrEnum):
    """What is asked for."""

    KNOW = "know"
    """Which data there is of somebody, what for, and who gets it."""
    ACCESS = "access"
    """A copy of it."""
    CORRECT = "correct"
    ERASE = "erase"
    RESTRICT = "restrict"
    """That it is kept and not used."""
    OBJECT = "object"
    """That it is not used, or not sold."""
    PORT = "port"
    """A file to take elsewhere."""
    WITHDRAW = "withdraw"
    """That a consent be over."""


class Way(StrEnum):
    """How a request arrived."""

    FORM = "form"
    """By the site's own form."""
    EMAIL = "e-mail"
    LETTER = "letter"
    API = "api"


class RequestState(StrEnum):
    """How far a request has come."""

    RECEIVED = "received"
    ACKNOWLEDGED = "acknowledged"
    """Who asked knows that it arrived."""
    EXTENDED = "extended"
    """... and why it takes longer."""
    ANSWERED = "answered"
    DENIED = "denied"
    WITHDRAWN = "withdrawn"
    """Who asked does not ask any more."""


class StepKind(StrEnum):
    """What can be done about a request."""

    ACKNOWLEDGE = "acknowledge"
    VERIFY_IDENTITY = "verify-identity"
    VERIFY_AUTHORITY = "verify-authority"
    EXTEND = "extend"
    ANSWER = "answer"
    DENY = "deny"
    TAKE_BACK = "take-back"
    NOTE = "note"


CLOSED: Final = frozenset({RequestState.ANSWERED, RequestState.DENIED, RequestState.WITHDRAWN})
"""Nothing comes after these."""
LEADS_TO: Final[Mapping[StepKind, RequestState]] = {
    StepKind.ACKNOWLEDGE: RequestState.ACKNOWLEDGED,
    StepKind.EXTEND: RequestState.EXTENDED,
    StepKind.ANSWER: RequestState.ANSWERED,
    StepKind.DENY: RequestState.DENIED,
    StepKind.TAKE_BACK: RequestState.WITHDRAWN,
}
"""The steps that change the state."""
_FROM: Final[Mapping[StepKind, frozenset[RequestState]]] = {
    StepKind.ACKNOWLEDGE: frozenset({RequestState.RECEIVED}),
    # Once: there is no second time.
    StepKind.EXTEND: frozenset({RequestState.ACKNOWLEDGED}),
}
WITHOUT_IDENTITY: Final = frozenset({RequestKind.OBJECT, RequestKind.WITHDRAW})
"""What is done for whoever asks: it gives nothing away, and a no needs no proof of who says it."""


class StepRefused(Exception):
    """A step cannot be taken now; the message says what comes first."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What decides which step can be taken."""

    kind: RequestKind
    state: RequestState
    identity_verified: bool
    by_agent: bool
    authority_verified: bool

    def require(self, step: StepKind) -> None:
        """Refuse a step that cannot be taken.

        Raises:
            StepRefused: it cannot.
        """
        if step is StepKind.NOTE:
            return
        if self.state in CLOSED:
            raise StepRefused(f"the request is {self.state}: only notes can be added")
        allowed = _FROM.get(step)
        if allowed is not None and self.state not in allowed:
            raise StepRefused(f"a request that is {self.state} cannot be {LEADS_TO[step]}")
        if step is StepKind.VERIFY_AUTHORITY and not self.by_agent:
            raise StepRefused("nobody asks for another here: there is no authority to verify")
        if step is StepKind.ANSWER:
            self.require_identity()

    def require_identity(self) -> None:
        """Refuse to give anything away, or to erase it, before it is known who asks.

        Raises:
            StepRefused: it is not.
        """
        if self.kind not in WITHOUT_IDENTITY and not self.identity_verified:
            raise StepRefused("verify who asks first: the answer is for that person alone")
        if self.by_agent and not self.authority_verified:
            raise StepRefused("verify first that the agent may ask: the data is another's")

    def steps(self) -> tuple[StepKind, ...]:
        """Return the steps that can be taken."""

        def can(step: StepKind) -> bool:
            try:
                self.require(step)
            except StepRefused:
                return False
            return True

        return tuple(step for step in StepKind if can(step))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRequest:
    """A request as it arrives."""

    kind: RequestKind
    way: Way
    site: str
    """As receipts name it."""
    jurisdiction: str
    """Where the person is taken to be; empty: not known."""
    language: str = ""
    """In which the person is spoken to; empty: not known."""
    name: str = field(default="", repr=False)
    contact: str = field(default="", repr=False)
    """Where the answer goes."""
    details: str = field(default="", repr=False)
    agent: str = field(default="", repr=False)
    """Who asks for the person; empty: nobody."""
    subject: str = field(default="", repr=False)
    """The pseudonym in the signed cookie that came with it; empty: none did."""


class RegisterFull(Exception):
    """So many requests arrive, or wait, that no more are taken by the form."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What who asked may see of it."""

    reference: str
    kind: RequestKind
    state: RequestState
    received: str
    """A day, such as 2026-03-01."""
    due: str
    """The same; empty where nothing is due any more."""
    reason: str = field(repr=False)
    """Why it takes longer, or was denied."""


class RequestRegister(Protocol):
    """Takes requests from the public, and tells how they stand. Blocks; safe to share between threads.

    Every method raises StoreUnavailable where the register cannot be read or written.
    """

    def receive(self, new: NewRequest, *, nonce: bytes, network: bytes) -> tuple[str, str]:
        """Register a request that came by the form; return its reference and the code that goes with it.

        The same nonce again is the same request.

        Raises:
            RegisterFull: too many came from this network, or from all, or wait.
        """

    def standing(self, reference: str, code: str) -> Standing | None:
        """Return how a request stands; ``None``: there is none with this reference and code."""
