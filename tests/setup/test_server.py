import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import requests

Run = Callable[..., "subprocess.Popen[str]"]
Eventually = Callable[[Callable[[], bool]], None]
ProcessesOf = Callable[[Path], list[str]]
FreePorts = Callable[[int], list[int]]

SHOW = "import json, local; print(json.dumps(local.environment()))"


def shown(process: "subprocess.Popen[str]") -> dict[str, str]:
    output, _ = process.communicate()
    assert process.returncode == 0, output
    found: dict[str, str] = json.loads(output)
    return found


def test_local_defaults(checkout: Path, python: Run) -> None:
    env = shown(python("-c", SHOW))
    assert env["DEBUG"] == "on"
    assert env["BASE_URL"] == "http://127.0.0.1:8000"
    assert env["STRIPE_API_BASE"] == env["STRIPE_REDIRECT_ORIGINS"] == "http://127.0.0.1:8001"
    assert env["STRIPE_SANDBOX_WEBHOOK_URL"] == "http://127.0.0.1:8000/api/billing/webhook"
    assert env["NO_PROXY"] == "127.0.0.1,localhost,::1"
    assert (checkout / "var/secrets.json").stat().st_mode & 0o777 == 0o600
    assert shown(python("-c", SHOW)) == env  # the secrets are kept


def test_env_file_is_read_and_the_caller_wins(checkout: Path, python: Run) -> None:
    (checkout / ".env").write_text("SITE_NAME=File\nDEBUG=off\nBIND=127.0.0.1:9000\nBASE_URL=\n")
    env = shown(python("-c", SHOW, SITE_NAME="Caller"))
    assert (env["SITE_NAME"], env["DEBUG"]) == ("Caller", "off")
    assert env["BASE_URL"] == "http://127.0.0.1:9000"
    assert env["STRIPE_SANDBOX_BIND"] == "127.0.0.1:9001"


def test_a_stripe_key_needs_no_sandbox(python: Run) -> None:
    env = shown(python("-c", SHOW, STRIPE_SECRET_KEY="theirs", STRIPE_WEBHOOK_SECRET="too"))
    assert (env["STRIPE_SECRET_KEY"], env["STRIPE_WEBHOOK_SECRET"]) == ("theirs", "too")
    assert not {"STRIPE_API_BASE", "STRIPE_SANDBOX_STATE", "STRIPE_SANDBOX_BIND"} & env.keys()


def test_a_stripe_key_without_webhook_secret_is_told_where_to_get_it(
    checkout: Path, python: Run, free_ports: FreePorts
) -> None:
    bind = f"127.0.0.1:{free_ports(1)[0]}"
    process = python("script/serve.py", BIND=bind, STRIPE_SECRET_KEY="theirs")
    output, _ = process.communicate()
    assert process.returncode == 1
    assert output.startswith("STRIPE_WEBHOOK_SECRET is not set")
    assert "stripe listen --print-secret" in output
    assert not (checkout / "var/postgres").exists()


def test_an_address_that_is_none_is_named(python: Run) -> None:
    for bind in ["8000x", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "unix:/run/site"]:
        output, _ = python("script/serve.py", BIND=bind).communicate()
        assert output == f"BIND must be HOST:PORT, such as 127.0.0.1:8000, and not {bind!r}.\n"


def test_a_taken_port_is_said_by_name(checkout: Path, python: Run, free_ports: FreePorts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = port + 10 if port < 65000 else port - 10
        web = python("script/serve.py", BIND=f"127.0.0.1:{port}")
        output, _ = web.communicate()
        assert web.returncode == 1
        assert output.startswith(f"Port {port}, for the website, is taken by process {os.getpid()}")
        assert f"BIND=127.0.0.1:{other} script/server" in output

        free = f"127.0.0.1:{free_ports(1)[0]}"
        settings = {"BIND": free, "STRIPE_SANDBOX_BIND": f"127.0.0.1:{port}"}
        output, _ = python("script/serve.py", **settings).communicate()
        assert output.startswith(f"Port {port}, for the Stripe sandbox, is taken by process")
        assert f"STRIPE_SANDBOX_BIND=127.0.0.1:{other} script/server" in output
    assert not (checkout / "var/postgres").exists()


def test_server_runs_survives_kill_and_stops(
    checkout: Path,
    python: Run,
    free_ports: FreePorts,
    processes_of: ProcessesOf,
    eventually: Eventually,
) -> None:
    web, sandbox = free_ports(2)
    settings = {"BIND": f"127.0.0.1:{web}", "STRIPE_SANDBOX_BIND": f"127.0.0.1:{sandbox}"}

    def start() -> "tuple[subprocess.Popen[str], str]":
        process = python("script/serve.py", **settings)
        told = ""
        assert process.stdout is not None
        for line in process.stdout:
            told += line
            if "4242 4242 4242 4242" in line:
                break
        assert process.poll() is None, told
        return process, told

    def all_gone() -> bool:
        return processes_of(checkout) == []

    server, told = start()
    assert f"Website    http://127.0.0.1:{web}\n" in told
    assert f"Controls: http://127.0.0.1:{sandbox}/sandbox\n" in told
    password = json.loads((checkout / "var/secrets.json").read_text())["LOCAL_ADMIN_PASSWORD"]
    assert f"admin@example.com, password {password}\n" in told
    assert requests.get(f"http://127.0.0.1:{web}/readyz", timeout=10).status_code == 200

    web_2, sandbox_2 = free_ports(2)
    elsewhere = {"BIND": f"127.0.0.1:{web_2}", "STRIPE_SANDBOX_BIND": f"127.0.0.1:{sandbox_2}"}
    output, _ = python("script/serve.py", **elsewhere).communicate()
    assert f"script/server already runs in this checkout (process {server.pid})." in output

    server.kill()
    eventually(all_gone)

    server, _ = start()
    assert requests.get(f"http://127.0.0.1:{web}/readyz", timeout=10).status_code == 200
    manage = python("script/manage.py", "shell", "-v0", "-c", "print(6 * 7)", **settings)
    assert manage.communicate()[0] == "42\n"
    assert [one for one in processes_of(checkout) if " manage.py worker " in one] != []
    server.send_signal(signal.SIGINT)
    output, _ = server.communicate(timeout=60)
    of_worker = [line for line in output.splitlines() if " billing.worker: " in line]
    assert of_worker[-1].endswith("The worker ends.")
    others = [line for line in output.splitlines() if line and line not in of_worker]
    assert (server.returncode, others) == (0, ["Stopping …"])
    eventually(all_gone)
