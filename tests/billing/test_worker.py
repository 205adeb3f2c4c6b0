import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection, connections

from billing import mails, worker
from billing.models import BalanceAlert, Mail
from credits import ledger
from tests.smtp import MailServer

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def mail_server():
    server = MailServer()
    yield server
    server.stop()


@pytest.fixture
def worker_process(mail_server):
    """`manage.py worker` on the tests' database, as it is started in production."""
    database = connection.settings_dict
    host = database["OPTIONS"].get("host") or database["HOST"]
    url = (
        f"postgres://{database['USER']}:{database['PASSWORD']}@/{database['NAME']}"
        f"?host={host}&port={database['PORT'] or 5432}"
    )
    started = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        env = os.environ | {
            "DATABASE_URL": url,
            "EMAIL_URL": f"smtp://127.0.0.1:{mail_server.port}",
            "PYTHONUNBUFFERED": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "manage.py", "worker", *arguments],
            cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def tell(user, key: str) -> None:
    mails.tell(user, "renewal", key, credits=500, total=475)


def eventually(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def jobs(monkeypatch, *runs, every: int = 0) -> list[worker.Job]:
    made = [worker.Job(f"job {number}", every, run) for number, run in enumerate(runs)]
    monkeypatch.setattr(worker, "JOBS", tuple(made))
    monkeypatch.setattr(settings, "WORKER_JOBS", [])
    monkeypatch.setattr(worker, "TICK", 0.01)
    return made


def test_the_jobs_are_these():
    assert [(job.name, job.every) for job in worker.jobs()] == [
        ("mails", 2), ("webhooks", 2), ("bulk purchases", 2), ("expiry", 60), ("invoices", 60),
        ("low balance", 60), ("gifts", 60), ("abandoned orders", 3600), ("old sign-ins", 3600),
        ("old webhooks", 3600), ("old invitations", 3600), ("old lists", 3600),
        ("lapsed holds", 60), ("old answers", 3600),
    ]  # fmt: skip


def test_it_sends_survives_the_loss_of_its_connection_and_ends(user, worker_process, mail_server):
    process = worker_process()
    tell(user, "one")
    # Not only taken by the mail server: in between the loss would rightly send it again.
    eventually(lambda: Mail.objects.filter(sent_at__isnull=False).count() == 1)
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()""")
        assert cursor.fetchone()[0] >= 1
    tell(user, "two")
    eventually(lambda: len(mail_server.mails) == 2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    jobs_told = ", ".join(job.name for job in worker.jobs())
    assert f"The worker runs: {jobs_told}." in output
    assert output.endswith("The worker ends.\n")
    assert "Traceback" not in output
    assert Mail.objects.filter(sent_at__isnull=False).count() == 2


def test_told_to_stop_it_finishes_the_mail_under_way(user, worker_process, mail_server):
    tell(user, "one")
    taken, go_on = threading.Event(), threading.Event()
    mail_server.before_reply = lambda: (taken.set(), go_on.wait(20))
    process = worker_process()
    assert taken.wait(30)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    go_on.set()
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert Mail.objects.get().sent_at is not None


def test_killed_while_sending_it_leaves_the_mail_to_the_next_one(user, worker_process, mail_server):
    tell(user, "one")
    taken = threading.Event()
    mail_server.before_reply = lambda: (taken.set(), time.sleep(1))
    process = worker_process()
    assert taken.wait(30)
    process.kill()
    process.communicate()
    mail_server.before_reply = lambda: None
    mail = Mail.objects.get()
    assert (mail.tries, mail.sent_at) == (1, None)
    Mail.objects.update(due_at=mail.created_at)
    output, _ = worker_process("--once").communicate(timeout=30)
    assert "mails: 1\n" in output
    assert Mail.objects.get().sent_at is not None


def test_once_does_each_job_once(user, wallet, settings, capsys):
    ledger.grant(wallet, 500, key="g", kind="purchase")
    BalanceAlert.objects.create(user=user, threshold=100)
    ledger.spend(wallet, 450, key="s")
    call_command("worker", once=True)
    assert capsys.readouterr().out.splitlines() == [
        "mails: 0", "webhooks: 0", "bulk purchases: 0", "expiry: 0", "invoices: 0",
        "low balance: 1", "gifts: 0", "abandoned orders: 0", "old sign-ins: 0",
        "old webhooks: 0", "old invitations: 0", "old lists: 0", "lapsed holds: 0",
        "old answers: 0",
    ]  # fmt: skip
    call_command("worker", once=True)
    assert capsys.readouterr().out.splitlines() == [
        "mails: 1", "webhooks: 0", "bulk purchases: 0", "expiry: 0", "invoices: 0",
        "low balance: 0", "gifts: 0", "abandoned orders: 0", "old sign-ins: 0",
        "old webhooks: 0", "old invitations: 0", "old lists: 0", "lapsed holds: 0",
        "old answers: 0",
    ]  # fmt: skip


def test_a_job_that_fails_stops_no_other_and_is_tried_again(monkeypatch, caplog):
    ran = []
    stop = threading.Event()

    def second() -> int:
        ran.append("second")
        if len(ran) >= 6:
            stop.set()
        return 1

    def first() -> int:
        ran.append("first")
        raise ValueError(f"No. {len(ran)}")

    made = jobs(monkeypatch, first, second)
    worker.run_forever(stop)
    assert ran == ["first", "second"] * 3
    assert "job 0 failed and is due again in 0 s." in caplog.text
    assert "ValueError: No. 5" in caplog.text
    assert worker.attempt(made[0]) is None
    with pytest.raises(CommandError, match="Failed: job 0"):
        call_command("worker", once=True)


def test_a_failed_transaction_of_one_job_is_not_the_next_one_s(monkeypatch):
    def breaks() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        return 1

    broken, fine = jobs(monkeypatch, breaks, Mail.objects.count)
    assert (worker.attempt(broken), worker.attempt(fine)) == (None, 0)


def test_a_job_is_done_by_one_worker_at_a_time(monkeypatch, at_once):
    running, together = [], []

    def run() -> int:
        running.append(1)
        together.append(len(running))
        time.sleep(0.1)
        running.pop()
        return 1

    (job,) = jobs(monkeypatch, run)
    answers = at_once(4, lambda _: worker.attempt(job))
    assert set(together) == {1}
    assert sum(answers) == len(together) >= 1
    assert worker.attempt(job) == 1  # nobody has kept the lock


def test_another_job_is_not_held_up(monkeypatch):
    entered, leave = threading.Event(), threading.Event()

    def long() -> int:
        entered.set()
        assert leave.wait(20)
        return 1

    slow, fast = jobs(monkeypatch, long, lambda: 1)

    def one() -> None:
        worker.attempt(slow)
        connections.close_all()

    thread = threading.Thread(target=one)
    thread.start()
    assert entered.wait(20)
    assert (worker.attempt(slow), worker.attempt(fast)) == (0, 1)
    leave.set()
    thread.join()


def test_it_says_now_and_then_what_it_did(monkeypatch, caplog):
    stop = threading.Event()
    done = []

    def run() -> int:
        done.append(1)
        if len(done) == 3:
            stop.set()
        return 700

    jobs(monkeypatch, run)
    monkeypatch.setattr(worker, "SIGN_OF_LIFE", 0)
    caplog.set_level("INFO", "billing")
    worker.run_forever(stop)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "The worker runs: job 0."
    assert lines[1] == "The worker runs. Done in the last 0 minutes: job 0 700."
