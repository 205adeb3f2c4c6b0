"""Runs the site with everything that it needs, and stops all of it together."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import local
import postgres
from local import ADMIN, ROOT

BIN = Path(sys.executable).parent
GRACE = 30  # seconds for a child to end by itself


def main() -> None:
    env = local.environment()
    sandbox = local.uses_sandbox(env)
    _check_free("the website", "BIND", env["BIND"])
    if sandbox:
        _check_free("the Stripe sandbox", "STRIPE_SANDBOX_BIND", env["STRIPE_SANDBOX_BIND"])
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), _stop)
    with ExitStack() as stack:
        own_database = not env.get("DATABASE_URL")
        if own_database:
            print("Starting PostgreSQL …", flush=True)
            env["DATABASE_URL"] = stack.enter_context(postgres.durable())
        _manage(env, "migrate", "--noinput", "-v0")
        if env["DEBUG"].lower() in {"1", "on", "true", "yes"}:
            _manage(env, "ensure_local_admin")
        else:
            _manage(env, "collectstatic", "--noinput", "-v0")
        children = {}
        if sandbox:
            command = (sys.executable, "-m", "stripe_sandbox")
            children["The Stripe sandbox"] = _start(stack, env, *command)
        children["The website"] = _start(stack, env, BIN / "gunicorn", "config.wsgi")
        _wait_until_up(env["BIND"], children)
        _tell(env, own_database=own_database, sandbox=sandbox)
        _watch(children)


def _stop(number: int, frame: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second Ctrl-C
    print("\nStopping …", flush=True)
    raise SystemExit(0 if number == signal.SIGINT else 128 + number)


def _check_free(what: str, variable: str, bind: str) -> None:
    host, _, port = bind.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            holder = _holder(int(port))
            sys.exit(
                f"Port {port}, for {what}, is taken{f' by {holder}' if holder else ''} "
                f"({error.strerror}).\n"
                f"Stop that, or choose another: {variable}={host}:{int(port) + 10} script/server"
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


def _wait_until_up(bind: str, children: dict[str, "subprocess.Popen[bytes]"]) -> None:
    host, _, port = bind.rpartition(":")
    while True:
        _check_children(children)
        try:
            socket.create_connection((host.strip("[]"), int(port)), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return


def _tell(env: dict[str, str], *, own_database: bool, sandbox: bool) -> None:
    base = env["BASE_URL"]
    lines = [
        "",
        f"  {env.get('SITE_NAME') or 'Dynamic Credits'} runs. Ctrl-C stops it.",
        "",
        f"  Website    {base}",
        f"  Admin      {base}/admin/",
    ]
    if env["DEBUG"].lower() in {"1", "on", "true", "yes"}:
        lines.append(f"             {ADMIN}, password {env['LOCAL_ADMIN_PASSWORD']}")
        lines.append("             (made for this checkout on first start, kept in var/)")
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
