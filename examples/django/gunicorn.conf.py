"""Keep a stop signal that reaches a worker before it has set up its signals.

A new worker has the master's signal handlers until its own are installed, and a SIGTERM that comes in between is lost:
the worker then accepts until it is killed, with whatever it serves. Here the signal is blocked from the fork until the
worker has booted; the kernel keeps it, and delivers it then.
"""
import os
import signal

MASTER = os.getpid()
STOP = {signal.SIGTERM}


def block():
    if os.getpid() == MASTER:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP)


def unblock():
    if os.getpid() == MASTER:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)


os.register_at_fork(before=block, after_in_parent=unblock)


def post_worker_init(worker):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
