"""A Jupyter kernel that starts in a moment: forked from a process that has imported what is heavy, and nothing of this project.

It is ipykernel itself, in a process of its own.  `python forked_kernel.py SOCKET` serves; with ipykernel's arguments after SOCKET it is
what Jupyter starts in place of a kernel: it has one forked, ends with it, and takes it along when it or its parent is killed.
"""

import json
import os
import select
import socket
import sys
import threading
from importlib import import_module

HEAVY = ("torch", "transformers", "pandas", "pyarrow.parquet", "scipy.stats", "plotly.graph_objects", "ipykernel.kernelapp")


def serve(path: str) -> None:
    """Fork a kernel for each connection, until standard input ends."""
    for name in HEAVY:
        import_module(name)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([sys.stdin, listening], [], [])[0]:
            line, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                return become_kernel(line)
            line.close()


def become_kernel(line: socket.socket) -> None:
    """The folder and the environment are those of the process that waits at the other end; once that is killed, so is this one."""
    arguments, folder, env = json.loads(line.makefile().readline())
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update({name: value for name, value in env.items() if name != "JPY_PARENT_PID"})  # not the parent of this process
    threading.Thread(target=lambda: line.recv(1) or os._exit(1), daemon=True).start()
    sys.modules["ipykernel.kernelapp"].launch_new_instance(arguments)


def wait_for_one(path: str, *arguments: str) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        line.sendall(json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode() + b"\n")
        parent = os.getppid()
        while os.getppid() == parent and not select.select([line], [], [], 1)[0]:
            pass


if __name__ == "__main__":
    serve(*sys.argv[1:]) if len(sys.argv) == 2 else wait_for_one(*sys.argv[1:])
