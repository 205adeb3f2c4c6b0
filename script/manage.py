"""manage.py with the local environment and database of script/server."""

import subprocess
import sys
from contextlib import ExitStack

import local
import postgres

if __name__ == "__main__":
    env = local.environment()
    with ExitStack() as stack:
        if not env.get("DATABASE_URL"):
            env["DATABASE_URL"] = stack.enter_context(postgres.durable())
        command = [sys.executable, "manage.py", *sys.argv[1:]]
        code = subprocess.run(command, cwd=local.ROOT, env=env).returncode
    sys.exit(code)
