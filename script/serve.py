"""Runs the site with everything that it needs, and stops all of it together."""

import ctypes
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import local
import postgres
from local import ADMIN, ROOT

BIN = Path(sys.executable).parent
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 30  # seconds for a child to end by itself


def main() -> None:
    env = local.environment()
    sandbox = local.uses_sandbox(env)
    _check_free("the website", "BIND", *local.address(env, "BIND"))
    if sandbox:
        variable = "STRIPE_SANDBOX_BIND"
        _check_free("the Stripe sandbox", variable, *local.address(env, variable))
    elif not env.get("STRIPE_WEBHOOK_SECRET"):
        sys.exit(
            "STRIPE_WEBHOOK_SECRET is not set, and with STRIPE_SECRET_KEY it has to be.\n"
            "Stripe's CLI tells the one of this machine: stripe listen --print-secret"
        )
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN or number == signal.SIGINT:  # nohup
            signal.signal(number, _stop)
    with ExitStack() as stack:
        if sandbox:
            _claim_sandbox(stack)
        own_database = not env.get("DATABASE_URL")
        if own_database:
            print("Starting PostgreSQL …", flush=True)
            env["DATABASE_URL"] = stack.enter_context(postgres.durable())
        _manage(env, "migrate", "--noinput", "-v0")
        if local.is_on(env["DEBUG"]):
            _manage(env, "ensure_local_admin")
        else:
            _manage(env, "collectstatic", "--noinput", "-v0")
        children = {}
        if sandbox:
            command = (sys.executable, "-m", "stripe_sandbox")
            children["The Stripe sandbox"] = _start(stack, env, *command)
        children["The website"] = _start(stack, env, BIN / "gunicorn", "config.wsgi")
        children["The worker"] = _start(stack, env, sys.executable, "manage.py", "worker")
        _wait_until_up(env, children)
        _tell(env, own_database=own_database, sandbox=sandbox)
        _watch(children)


def _check_free(what: str, variable: str, host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                sys.exit(f"{variable}: {what} can't listen on {host}:{port}: {error.strerror}.")
            holder = _holder(port)
            other = port + 10 if port < 65000 else port - 10
            sys.exit(
                f"Port {port}, for {what}, is taken{f' by {holder}' if holder else ''}.\n"
                f"Stop that, or choose another: {variable}={host}:{other} script/server"
            )


def _holder(port: int) -> str:
    """Who listens on a port, as far as /proc lets us see."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else []:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()) in inodes:
                process = link.parent.parent
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                return f"process {process.name} ({command.strip()[:80]})"
        except OSError:
            continue
    return ""


def _stop(number: int, frame: object) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # an impatient second Ctrl-C
    with suppress(OSError):  # the terminal may be gone
        print("\nStopping …", flush=True)
    raise SystemExit(0 if number == signal.SIGINT else 128 + number)


def _claim_sandbox(stack: ExitStack) -> None:
    # Two of them in one file would each deliver to their own site what the other's sold.
    lock = stack.enter_context((local.VAR / "stripe-sandbox.lock").open("a+"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        sys.exit(f"script/server already runs in this checkout (process {lock.read().strip()}).")
    lock.truncate(0)
    print(os.getpid(), file=lock, flush=True)


def _manage(env: dict[str, str], *command: str) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", *command], cwd=ROOT, env=env, start_new_session=True
    )
    if result.returncode:
        sys.exit(f"manage.py {command[0]} failed; nothing was started.")


def _start(stack: ExitStack, env: dict[str, str], *command: object) -> "subprocess.Popen[bytes]":
    parent = os.getpid()

    def end_with_parent() -> None:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    child = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        env=env,
        start_new_session=True,  # Ctrl-C is for us; we stop it
        preexec_fn=end_with_parent,
    )
    stack.callback(_end, child)
    return child


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _wait_until_up(env: dict[str, str], children: dict[str, "subprocess.Popen[bytes]"]) -> None:
    host, port = local.address(env, "BIND")
    near = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
    while True:
        _check_children(children)
        connection = HTTPConnection(near.get(host.strip("[]"), host.strip("[]")), port, timeout=2)
        with suppress(OSError, HTTPException):
            connection.request("GET", "/healthz")
            if connection.getresponse().status == HTTPStatus.OK:
                return
        time.sleep(0.1)


def _tell(env: dict[str, str], *, own_database: bool, sandbox: bool) -> None:
    base = env["BASE_URL"]
    lines = [
        "",
        f"  {env.get('SITE_NAME') or 'Dynamic Credits'} runs. Ctrl-C stops it.",
        "",
        f"  Website    {base}",
        f"  Admin      {base}/admin/",
    ]
    if local.has_own_admin(env):
        lines.append(f"             {ADMIN}, password {env['LOCAL_ADMIN_PASSWORD']}")
        lines.append("             (made for this checkout at its first start, kept in var/)")
    elif local.is_on(env["DEBUG"]):
        lines.append(f"             {ADMIN}, password as LOCAL_ADMIN_PASSWORD was at first")
    if local.is_on(env["DEBUG"]):
        lines.append("             (with DEBUG off it asks for a second step: an app or a passkey)")
    else:
        lines.append("             It asks for a second step: an app or a passkey.")
    lines.append(
        "  Database   its own PostgreSQL, kept between starts"
        if own_database
        else "  Database   the one that DATABASE_URL names"
    )
    if sandbox:
        lines += [
            "  Payments   a SANDBOX: no real money moves.",
            f"             Controls: {env['STRIPE_API_BASE']}/sandbox",
            "             Pay with card 4242 4242 4242 4242, any future date, any code.",
        ]
    else:
        live = env["STRIPE_SECRET_KEY"].startswith(("sk_live_", "rk_live_"))
        lines += [
            f"  Payments   Stripe, {'LIVE: real money moves' if live else 'test mode'}",
            "             Stripe must reach the webhook. On this machine:",
            f"             stripe listen --forward-to {base}/api/billing/webhook",
        ]
    print("\n".join(lines), flush=True)
    print(flush=True)


def _watch(children: dict[str, "subprocess.Popen[bytes]"]) -> None:
    while True:
        _check_children(children)
        time.sleep(0.5)


def _check_children(children: dict[str, "subprocess.Popen[bytes]"]) -> None:
    for name, child in children.items():
        if child.poll() is not None:
            print(f"{name} has ended (exit {child.returncode}); stopping the rest.", flush=True)
            sys.exit(1)


if __name__ == "__main__":
    main()
