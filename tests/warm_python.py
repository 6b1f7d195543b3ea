"""Interpreters that start at once: a server has imported what commands need, and forks one for each.

A fresh interpreter takes seconds for torch, fairseq2 and Lightning. Where a test needs a process, to kill it
or to run a shell's commands, it starts `python` or `musiclm` of the fixture `warm`: an ordinary process that
ends as an interpreter's does, with its exit code or its signal. This file is both sides of a Unix socket:

    warm_python.py --serve SOCKET PYTHON    imports, says "ready", forks; ends when its standard input does
    warm_python.py SOCKET -m MODULE ...     or -c CODE ...: run there, with the files and the folder from here

Signals to the second are passed on; where it is killed, what runs for it is killed as well: with all that it
has started, where the second leads a session, whose group of processes one who asks so kills as a whole.
PYTHON is a command that does the second: multiprocessing starts its processes by it.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LARGEST = 2**17  # bytes of a request: the arguments and the environment
HIGHEST = 250  # open files of one who asks: no more can be sent at once


def serve(path: str, python: str) -> list[str]:
    """Fork for every request; returns, in the process of a request, with its arguments."""
    import fcntl
    import gc
    import importlib
    import multiprocessing
    import threading

    for module in ("fairseq2_models", "mulan", "soundstream"):
        importlib.import_module(f"musiclm.tokenizers.{module}")
    for module in ("audit.audit", "audit.guard", "cli.generate", "data.tokenize", "training.cli"):
        importlib.import_module(f"musiclm.{module}")
    multiprocessing.set_executable(python)
    gc.freeze()  # what is never freed is not looked at, and its pages stay shared
    # A process with threads is not forked safely; this one waits, and fsspec starts it anew in a child.
    assert {thread.name for thread in threading.enumerate()} <= {"MainThread", "fsspecIO"}
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # watchers are not waited for
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                os._exit(0)
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    content, files, _, _ = socket.recv_fds(connection, LARGEST, HIGHEST)
    request = json.loads(content)
    child = os.fork()
    if child:
        for file in files:
            os.close(file)
        watch(connection, child, leads=request["leads"])
    connection.close()
    if request["leads"]:
        os.setsid()
    aside = [fcntl.fcntl(file, fcntl.F_DUPFD, HIGHEST) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(aside, request["files"], strict=True):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    return request["arguments"]


def watch(connection: socket.socket, child: int, *, leads: bool) -> None:
    """Pass signals on to the child and, when it has ended, its status back; never returns."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            with contextlib.suppress(BrokenPipeError):  # who asked was killed meanwhile
                connection.send(str(os.waitstatus_to_exitcode(status)).encode())
            os._exit(0)
        if select.select([connection], [], [], 0.01)[0]:
            said = connection.recv(16)
            if leads and not said:
                with contextlib.suppress(ProcessLookupError):  # a child that has no session yet has no others
                    os.killpg(child, signal.SIGKILL)
            os.kill(child, int(said) if said else signal.SIGKILL)  # nothing: who asked was killed


def request(path: str, arguments: list[str]) -> None:
    """Have an interpreter run; ends as it does."""
    files = [number for number in range(HIGHEST) if is_open(number)]
    words = {
        "arguments": arguments, "files": files, "folder": os.getcwd(), "environment": dict(os.environ),
        "leads": os.getsid(0) == os.getpid(),
    }  # fmt: skip
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(path)
        for number in FORWARDED:
            signal.signal(number, lambda number, _: connection.send(str(int(number)).encode()))
        socket.send_fds(connection, [json.dumps(words).encode()], files)
        for file in files:
            if file != 2:  # who reads or writes at the other end is to see the interpreter's end alone
                os.close(file)
        end(int(connection.recv(16)))


def is_open(file: int) -> bool:
    try:
        os.fstat(file)
    except OSError:
        return False
    return True


def run(arguments: list[str]) -> None:
    """What an interpreter does with `-m MODULE ...` or `-c CODE ...`; flags before it are this one's own."""
    import runpy

    while arguments[0] not in ("-m", "-c"):
        arguments = arguments[1:]
    kind, what, *rest = arguments
    sys.argv[:] = [kind, *rest]
    if kind == "-m":
        sys.path[0] = os.getcwd()
        sys.modules.pop(what, None)
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = ""
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


def run_to_the_end(arguments: list[str]) -> None:
    """Run, and end as an interpreter does; only, it takes no seconds to take its modules apart."""
    import atexit
    import threading
    import traceback

    code = 0
    try:
        run(arguments)
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        code = 1 if isinstance(stop.code, str) else stop.code or 0
    except BaseException as error:
        traceback.print_exc()
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # nobody reads it any more
            stream.flush()
    end(code)


def end(code: int) -> None:
    """End with an exit code, or by a signal where it is negative."""
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no other
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        run_to_the_end(serve(*sys.argv[2:]))
    else:
        request(sys.argv[1], sys.argv[2:])
