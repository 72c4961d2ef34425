"""`backchannel run NAME`: one process of the Procfile."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import click

from cli.launch import become
from cli.processes import PROCESSES
from config.settings import get_settings

# Set by `up` to its own pid.
SUPERVISOR = "BACKCHANNEL_SUPERVISOR"
_PR_SET_PDEATHSIG = 1


@click.command("run", help="Run one process of the Procfile: " + ", ".join(PROCESSES) + ".")
@click.argument("name", type=click.Choice(list(PROCESSES)), metavar="NAME")
def command(name: str) -> None:
    follow_supervisor()
    become(PROCESSES[name], get_settings())


def follow_supervisor() -> None:
    """Be told to stop when `up` itself is killed and can tell nobody any more. Survives exec."""
    supervisor = os.environ.pop(SUPERVISOR, "")
    if not supervisor or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(supervisor):
        sys.exit("backchannel up is gone; not starting.")  # it died before the line above
