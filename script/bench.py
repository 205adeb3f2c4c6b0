"""The benchmark, on a throw-away PostgreSQL that is set up like one to rely on.

What it commits is on the disk before it answers, as in production: that is what a booking waits
for. Its memory is a quarter of the machine's, as PostgreSQL's manual suggests; everything else is
as it comes, but for checkpoints, which are as far apart as on a server that is busy all day.
"""

import os
import signal
import subprocess
import sys

import check
import postgres

MEMORY_MB = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
SETTINGS = (
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    f"shared_buffers={MEMORY_MB // 4}MB",
    f"effective_cache_size={MEMORY_MB * 3 // 4}MB",
    f"maintenance_work_mem={MEMORY_MB // 24}MB",
    "checkpoint_timeout=15min",
    "max_wal_size=16GB",
    "random_page_cost=1.1",
)
PROFILE = (
    "shared_preload_libraries=pg_stat_statements",
    "pg_stat_statements.track=none",  # the profile turns it on for itself
)


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is cleaned up
    settings = postgres.NOT_KEPT if "--short" in arguments else SETTINGS
    module = {"--pages": "bench.pages", "--api": "bench.api"}.get("".join(arguments), "bench")
    with postgres.throwaway((*settings, *PROFILE), on_disk=True) as url:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=check.ROOT,
            env=check.environment() | {"DATABASE_URL": url},
        ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
