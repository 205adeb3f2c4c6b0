"""manage.py with the local environment and database of script/server."""

import signal
import subprocess
import sys
from contextlib import ExitStack

import local
import postgres

if __name__ == "__main__":
    env = local.environment()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        if not env.get("DATABASE_URL"):
            env["DATABASE_URL"] = stack.enter_context(postgres.durable())
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command, a shell perhaps
        command = [sys.executable, "manage.py", *sys.argv[1:]]
        code = subprocess.run(command, cwd=local.ROOT, env=env).returncode
    sys.exit(code)
