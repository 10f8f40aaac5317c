"""The process that keeps a child (QEMU) alive exactly as long as its owner lives.

Runs as a script: `python -I -S keeper.py LIFELINE_FD CHILD_FDS -- COMMAND...`. The child is killed when the owner
closes its end of the lifeline or dies, also by kill -9. When the child ends first, the keeper sends its wait status
over the lifeline and ends.
"""

import os
import select
import signal
import sys


def main(lifeline: int, child_fds: list[int], command: list[str]) -> None:
    child = os.fork()
    if child == 0:
        os.close(lifeline)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os.kill(child, signal.SIGKILL))
    for fd in child_fds:  # otherwise the other ends would not see that the child has ended
        os.close(fd)
    poll = select.poll()
    poll.register(os.pidfd_open(child), select.POLLIN)
    poll.register(lifeline, select.POLLIN)
    if lifeline in dict(poll.poll()):
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    try:
        os.write(lifeline, b"%d" % status)
    except OSError:
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(fd) for fd in sys.argv[2].split(",")], sys.argv[4:])
