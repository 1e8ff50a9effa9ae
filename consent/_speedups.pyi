from collections.abc import Iterable

class WordFinder:
    def __init__(self, words: Iterable[bytes], /) -> None: ...
    def find(self, text: bytes, /) -> set[bytes]: ...

class TagSkipper:
    def __init__(
        self,
        start_tags: Iterable[bytes],
        end_tags: Iterable[bytes],
        attributes: Iterable[bytes],
        event_handlers: bool,
        /,
    ) -> None: ...
    def skip(self, page: bytes, position: int, limit: int, /) -> int: ...
