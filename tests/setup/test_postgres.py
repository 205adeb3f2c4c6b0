import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., "subprocess.Popen[str]"]
Eventually = Callable[[Callable[[], bool]], None]
ProcessesOf = Callable[[Path], list[str]]

# Holds a server until its input ends, after a statement; says what came of it.
HOLD = """
import sys, psycopg, postgres
with postgres.{kind}() as url:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute({sql!r})
        print(cursor.fetchall() if cursor.description else "done", flush=True)
        print(connection.info.host, flush=True)
    {then}
"""
WAIT = "import time; time.sleep(300)"
MAKE = "CREATE TABLE kept AS SELECT 7 AS number"
READ = "SELECT number FROM kept"


def hold(sql: str, *, kind: str = "durable", then: str = "pass") -> str:
    return HOLD.format(kind=kind, sql=sql, then=then)


def test_durable_keeps_its_data_and_stops_with_its_last_user(
    checkout: Path, python: Run, processes_of: ProcessesOf, eventually: Eventually
) -> None:
    first = python("-c", hold(MAKE, then=WAIT))
    assert first.stdout is not None
    assert first.stdout.readline() == "done\n"
    second = python("-c", hold(READ))
    assert second.communicate()[0].startswith("[(7,)]\n")
    assert any("postgres" in command for command in processes_of(checkout / "var"))
    first.kill()  # it can't stop the server; the guard does
    eventually(lambda: processes_of(checkout / "var") == [])
    third = python("-c", hold(READ))
    assert third.communicate()[0].startswith("[(7,)]\n")
    assert not (checkout / "var/postgres/data/postmaster.pid").exists()


def test_durable_recovers_when_all_of_it_was_killed(
    checkout: Path, python: Run, processes_of: ProcessesOf, eventually: Eventually
) -> None:
    holder = python("-c", hold(MAKE, then=WAIT))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "done\n"
    pid_file = checkout / "var/postgres/data/postmaster.pid"
    server, *rest = pid_file.read_text().splitlines()
    os.kill(int(server), 9)
    holder.kill()
    eventually(lambda: processes_of(checkout / "var") == [])
    # The number in what the killed server left belongs to somebody else by now.
    pid_file.write_text("\n".join([str(os.getpid()), *rest]) + "\n")
    again = python("-c", hold(READ))
    assert again.communicate()[0].startswith("[(7,)]\n")
    assert again.returncode == 0


def test_throwaway_ends_with_its_process(
    python: Run, processes_of: ProcessesOf, eventually: Eventually
) -> None:
    holder = python("-c", hold("SHOW fsync", kind="throwaway", then=WAIT))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "[('off',)]\n"
    home = Path(holder.stdout.readline().strip())
    assert processes_of(home)
    holder.kill()
    eventually(lambda: processes_of(home) == [])
    # The next one clears away what is left, once it is old enough to be nobody's.
    os.utime(home, (0, 0))
    following = python("-c", hold("SELECT 1", kind="throwaway"))
    assert following.communicate()[0].startswith("[(1,)]\n")
    assert not home.exists()


def test_a_new_clone_in_an_old_place_has_its_own_data(checkout: Path, python: Run) -> None:
    program = (
        "import pathlib, postgres\n"
        "inside = postgres.ROOT / 'var'\n"
        "postgres._can_enter = lambda folder: folder != inside\n"
        "real = pathlib.Path\n"
        f"postgres.Path = lambda *at: real({str(checkout)!r} if at == ('/var/lib',) else at[0])\n"
        "print(postgres._state())"
    )
    first = python("-c", program).communicate()[0]
    assert first.startswith(f"{checkout}/dynamic-credits/")
    assert python("-c", program).communicate()[0] == first
    (checkout / "var/checkout-id").unlink()
    assert python("-c", program).communicate()[0] != first


def test_temporary_folder_has_room_for_a_socket(python: Run) -> None:
    deep = Path(tempfile.mkdtemp(prefix="x" * 70))
    try:
        found = python("-c", "import postgres; print(postgres._temporary())", TMPDIR=str(deep))
        assert found.communicate()[0] == "/tmp\n"
    finally:
        deep.rmdir()
