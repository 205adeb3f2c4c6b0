import signal
from argparse import ArgumentParser
from threading import Event
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing import worker


class Command(BaseCommand):
    help = "Send mails and do what else time asks for. Runs beside the web server until stopped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="each job once, for cron")

    def handle(self, *args: object, **options: Any) -> None:
        if options["once"]:
            self._run_once()
            return
        stop = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        worker.run_forever(stop)

    def _run_once(self) -> None:
        failed = []
        for job in worker.jobs():
            done = worker.attempt(job)
            if done is None:
                failed.append(job.name)
            else:
                self.stdout.write(f"{job.name}: {done:,}")
        if failed:
            raise CommandError(f"Failed: {', '.join(failed)}. The log says why.")
