"""The folder in which a site keeps what must outlive a restart: the keys and the receipts."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from secrets import token_hex

from consent.errors import ConfigurationError
from consent.sealing import LedgerKeys

DEFAULT_FOLDER = "consent-data"
"""Where a site's data folder is unless it says otherwise, in the working directory."""

_KEYS = "keys"
_GROUP_KEYS = "group-keys"
_VERSION = "policy-version"
_KEY = re.compile(rb"[0-9a-f]{64}")
_MAX_KEYS_BYTES = 64 * 1024
_MAX_KEYS = 100
_KEYS_HEADING = b"""\
# Keys that sign what this site gives its visitors, each 64 hexadecimal digits. Keep them secret.
# The first line signs, all of them verify. To rotate: put a new one first, restart, drop the old one later.
"""
_GROUP_KEYS_HEADING = b"""\
# Keys that the sites of a group share, each 64 hexadecimal digits. Keep them secret. All sites need the same file.
# The first line seals, all of them open. To rotate: put a new one second everywhere, then first, then drop the old one.
"""
_LEDGER_KEYS = ("sign", "wrap", "index")
_LEDGER_KEYS_HEADING = b"""\
# Keys of the log of receipts, each 64 hexadecimal digits. Keep them secret, and keep a copy away from the
# database: without the wrap and index keys no receipt can be read, and with them a copy of the database can.
#   sign   signs checkpoints. The first one signs, all of them are believed.
#   wrap   keeps the keys under which receipts are sealed. The first one is used for new ones. To rotate: put a new
#          one first, restart, run "consent db rewrap", drop the old one.
#   index  finds a visitor's receipts. There is one, and it stays.
"""


class DataFolder:
    """A site's data folder. Making the object touches nothing.

    Any number of processes may use one folder, and start at the same moment. It needs a local file system.

    Args:
        path: The folder. It is created where it is missing; the folder that it lies in must exist.
    """

    def __init__(self, path: str | Path) -> None:
        # Absolute now: the working directory may be another one later.
        self.path = Path(path).absolute()

    @property
    def receipts_path(self) -> Path:
        """Where the receipts are, whether or not there are any yet."""
        return self.path / "receipts.sqlite3"

    @property
    def inventory_path(self) -> Path:
        """Where the inventory is, whether or not there is one yet."""
        return self.path / "inventory.sqlite3"

    @property
    def office_path(self) -> Path:
        """Where the office's tokens and the log of its accesses are, whether or not there are any yet."""
        return self.path / "office.sqlite3"

    @property
    def exports_path(self) -> Path:
        """Where the office's exports are, whether or not there are any yet."""
        return self.path / "exports"

    @property
    def ledger_keys_path(self) -> Path:
        """Where the keys of the log of receipts are, whether or not there are any yet."""
        return self.path / "ledger-keys"

    @property
    def keys_path(self) -> Path:
        """Where the keys are, whether or not there are any yet."""
        return self.path / _KEYS

    def keys(self) -> tuple[bytes, ...]:
        """Return the keys, 32 bytes each, the signing one first; make folder and key where they are missing.

        Every process gets the same ones, those that start together too.

        Raises:
            ConfigurationError: the folder or the key file cannot be made or read, others may read the keys or
                put their own in the place of them, or the file does not hold keys.
        """
        return tuple(key for _, key in self._lines(self.keys_path, _parse_keys, _new_keys))

    def group_keys(self) -> tuple[bytes, ...]:
        """Return the keys that the sites of a group share, the sealing one first; make them where they are missing.

        Raises:
            ConfigurationError: as for :meth:`keys`.
        """
        path = self.path / _GROUP_KEYS
        return tuple(
            key for _, key in self._lines(path, _parse_keys, partial(_new_keys, _GROUP_KEYS_HEADING))
        )

    def ledger_keys(self, *, create: bool = True) -> LedgerKeys:
        """Return the keys of the log of receipts; make folder and key file where they are missing.

        Every process gets the same ones, those that start together too.

        Args:
            create: whether to make them.

        Raises:
            ConfigurationError: as for :meth:`keys`; or there are none, and none are to be made.
        """
        if not create and not self.ledger_keys_path.exists():
            raise ConfigurationError(
                "no receipts can be read without their keys, and there is no such file: it is made when the site "
                "starts; if it was lost, restore it from a backup",
                source=str(self.ledger_keys_path),
            )
        lines = self._lines(self.ledger_keys_path, _parse_ledger_keys, _new_ledger_keys)
        return LedgerKeys(
            signing=tuple(key for kind, key in lines if kind == "sign"),
            wrapping=tuple(key for kind, key in lines if kind == "wrap"),
            index=next(key for kind, key in lines if kind == "index"),
        )

    def in_force_since(self, version: str, today: date) -> date | None:
        """Return the day since when this version of the policy is in force here, as far as the folder knows.

        Where it had another version, or none, that is ``today``, from now on. Days are in UTC. Where the folder cannot
        be written it is not known: ``None``.

        Raises:
            ConfigurationError: the note of it is none, or others may write into the folder.
        """
        path = self.path / _VERSION
        try:
            self._create()
            with self._locked() as folder:
                noted = path.read_bytes()[:100].decode("latin-1") if path.exists() else ""
                known, _, day = noted.strip().partition(" ")
                if known == version:
                    return date.fromisoformat(day)
                _write_new(folder, _VERSION, f"{version} {today.isoformat()}\n".encode())
        except ValueError:
            raise ConfigurationError(
                "this notes no day of a version: remove the file", source=str(path)
            ) from None
        except OSError:
            return None
        return today

    def _lines(self, path: Path, parse: _Parse, new: Callable[[], bytes]) -> Sequence[tuple[str, bytes]]:
        """Return the keys in a file; make folder and file where they are missing."""
        with self._explained():
            lines = self._read_keys(path, parse)
            if lines is None:
                self._create()
                with self._locked() as folder:
                    # Another process may have been faster.
                    if self._read_keys(path, parse) is None:
                        _write_new(folder, path.name, new())
                lines = self._read_keys(path, parse)
            if lines is None:
                raise ConfigurationError("it vanished while it was being made: start again", source=str(path))
        return lines

    def _create(self) -> None:
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except FileNotFoundError:
            raise ConfigurationError(
                f"it cannot be made, for {self.path.parent} does not exist: create that first",
                source=str(self.path),
            ) from None
        else:
            _sync_folder(self.path.parent)

    def _read_keys(self, path: Path, parse: _Parse) -> Sequence[tuple[str, bytes]] | None:
        """Return the keys, or ``None`` where there is no file."""
        try:
            # O_NONBLOCK: a named pipe in the place of the file must not make the start hang.
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise ConfigurationError(
                "a file is in the place of this folder, or of one that it lies in: name another",
                source=str(self.path),
            ) from None
        try:
            # Asked of the open file, so that it is the one that is read.
            _check_keys_file(path, os.fstat(file).st_mode)
            self._refuse_shared_folder()
            content = os.read(file, _MAX_KEYS_BYTES + 1)
        finally:
            os.close(file)
        if len(content) > _MAX_KEYS_BYTES:
            raise ConfigurationError(
                f"more than {_MAX_KEYS_BYTES} bytes: this holds no keys", source=str(path)
            )
        return parse(content, str(path))

    def _refuse_shared_folder(self) -> None:
        mode = self.path.stat().st_mode
        if mode & 0o022:
            raise ConfigurationError(
                f"other users may put files into it (mode {stat.S_IMODE(mode):04o}), their own keys too: "
                f"run chmod 700 {self.path}, or name a folder inside it",
                source=str(self.path),
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the folder against other processes that start now; yield its descriptor."""
        self._refuse_shared_folder()
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            # Nobody shall commit visitors' data, or the keys, with a project that the folder lies in.
            if not (self.path / ".gitignore").exists():
                _write_new(folder, ".gitignore", b"*\n")
            yield folder
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigurationError(
                f"{error.strerror or error} ({error.filename or self.path}): the user this process runs as "
                "must be able to read and write the data folder; choose another one if it cannot",
                source=str(self.path),
            ) from error


def _check_keys_file(path: Path, mode: int) -> None:
    source = str(path)
    if not stat.S_ISREG(mode):
        raise ConfigurationError("this must be a file: remove it", source=source)
    if mode & 0o077:
        raise ConfigurationError(
            f"other users may read or change the keys (mode {stat.S_IMODE(mode):04o}): "
            f"run chmod 600 {path}; if they may have been read, also put a new key first",
            source=source,
        )


_Parse = Callable[[bytes, str], Sequence[tuple[str, bytes]]]


def _parse_keys(content: bytes, source: str) -> Sequence[tuple[str, bytes]]:
    """Read the keys that sign cookies: one a line."""
    keys = _parse_lines(content, source, [""])
    if not keys:
        raise ConfigurationError(
            "no key in it: restore it, or remove it and a new one is made", source=source
        )
    if len(keys) > _MAX_KEYS:
        raise ConfigurationError(f"{len(keys)} keys: drop old ones, {_MAX_KEYS} at most", source=source)
    return keys


def _parse_ledger_keys(content: bytes, source: str) -> Sequence[tuple[str, bytes]]:
    """Read the keys of the log: a word and a key a line."""
    keys = _parse_lines(content, source, _LEDGER_KEYS)
    kinds = [kind for kind, _ in keys]
    missing = [kind for kind in _LEDGER_KEYS if kind not in kinds]
    if missing or kinds.count("index") > 1:
        raise ConfigurationError(
            f"there must be one {missing[0] if missing else 'index'} key"
            f"{' at least' if missing else ' only'}: restore the file, for without its keys no receipt can be read",
            source=source,
        )
    return keys


def _parse_lines(content: bytes, source: str, kinds: Sequence[str]) -> Sequence[tuple[str, bytes]]:
    keys: list[tuple[str, bytes]] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        text = line.strip(b" \t\r")
        if not text or text.startswith(b"#"):
            continue
        kind, _, digits = text.rpartition(b" ")
        # What the line says is not repeated: it may be a key, and messages end up in logs.
        if kind.decode("latin-1") not in kinds or _KEY.fullmatch(digits) is None:
            before = f"{', '.join(kinds)}, a blank and " if kinds != [""] else ""
            raise ConfigurationError(
                f"a key is {before}64 hexadecimal digits in lower case: make one with "
                "python -c 'import secrets; print(secrets.token_hex(32))'",
                source=source,
                line=number,
            )
        key = bytes.fromhex(digits.decode())
        if key in [other for _, other in keys]:
            raise ConfigurationError("this key is in the file twice: remove one", source=source, line=number)
        keys.append((kind.decode(), key))
    return keys


def _new_keys(heading: bytes = _KEYS_HEADING) -> bytes:
    return heading + token_hex(32).encode() + b"\n"


def _new_ledger_keys() -> bytes:
    return _LEDGER_KEYS_HEADING + "".join(f"{kind} {token_hex(32)}\n" for kind in _LEDGER_KEYS).encode()


def _write_new(folder: int, name: str, content: bytes) -> None:
    """Put a file into ``folder``: whatever happens, it is there whole or not at all. Hold the lock."""
    beside = f"{name}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside, dir_fd=folder)  # left by a process that died here
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(beside, flags, 0o600, dir_fd=folder), "wb") as file:
        os.fchmod(file.fileno(), 0o600)  # whatever the umask says
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
