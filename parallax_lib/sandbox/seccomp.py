"""A system-call filter for untrusted programs, as the classic BPF bytes that bubblewrap's --seccomp takes.

Knows call numbers of x86_64 and aarch64.  Knows nothing of sandboxes or programs.

Refused (EPERM) are kernel surface that no benchmark program needs (keyrings, io_uring, bpf, perf, ptrace, mounts,
modules) and memory that no process's resident set shows (memfd, SysV shared memory, POSIX queues), which would slip
under the memory limit.  Sockets are limited to four families, so AF_VSOCK and AF_ALG are out.
Pages that can be written and executed end a process, except beside a GPU, whose driver may need them.
"""

from __future__ import annotations

import platform
import struct

LOAD, JUMP_EQ, JUMP_GE, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, KILL, EPERM = 0x7FFF0000, 0x80000000, 0x00050000 | 1
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little endian
X32_BIT = 0x40000000
FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PROTECTS = {"mmap": (9, 222), "mprotect": (10, 226), "pkey_mprotect": (329, 288)}  # the third argument says how
THIRD_ARGUMENT, WRITE_AND_EXECUTE, MASK = 32, 6, 0x54
HIDDEN_MEMORY = {"memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "mq_open": (240, 180)}
SOCKET = (41, 198)
REFUSED = {  # name: (x86_64, aarch64)
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "fanotify_init": (300, 262),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsmount": (432, 432), "mount_setattr": (442, 442),
    "unshare": (272, 97), "setns": (308, 268), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "kexec_load": (246, 104), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "reboot": (169, 142), "swapon": (167, 224), "acct": (163, 89), "quotactl": (179, 60), "syslog": (103, 116),
}  # fmt: skip


def program(hidden_memory: bool = False, machine: str = "", internet: bool = True) -> bytes:
    """The filter's bytes, b"" on a machine whose numbers are not listed.

    `hidden_memory` allows memfd and shared segments: the GPU driver needs them.  Without `internet` only AF_UNIX sockets
    can be made, for where no network namespace stops the others.
    """
    machine = machine or platform.machine()
    if machine not in AUDIT:
        return b""
    column = list(AUDIT).index(machine)
    calls = dict(REFUSED) if hidden_memory else {**REFUSED, **HIDDEN_MEMORY}
    lines = [(LOAD, 0, 0, ARCHITECTURE), (JUMP_EQ, 1, 0, AUDIT[machine]), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER)]
    if machine == "x86_64":
        lines += [(JUMP_GE, 0, 1, X32_BIT), (RETURN, 0, 0, EPERM)]
    for numbers in calls.values():
        lines += [(JUMP_EQ, 0, 1, numbers[column]), (RETURN, 0, 0, EPERM)]
    lines += _sockets(SOCKET[column], FAMILIES if internet else FAMILIES[:1])
    for numbers in () if hidden_memory else PROTECTS.values():
        lines += _no_writable_code(numbers[column])
    lines += [(RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("<HBBI", code, yes, no, value) for code, yes, no, value in lines)


def _no_writable_code(number: int) -> list[tuple[int, int, int, int]]:
    """A call that asks for pages that can be written and executed ends the process; any other call falls through."""
    lines = [(JUMP_EQ, 0, 5, number), (LOAD, 0, 0, THIRD_ARGUMENT), (MASK, 0, 0, WRITE_AND_EXECUTE)]
    return [*lines, (JUMP_EQ, 0, 1, WRITE_AND_EXECUTE), (RETURN, 0, 0, KILL), (RETURN, 0, 0, ALLOW)]


def _sockets(number: int, families: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """socket(family, ...): only the listed families; any other call falls through."""
    skip = 2 + len(families)
    lines = [(JUMP_EQ, 0, skip, number), (LOAD, 0, 0, FIRST_ARGUMENT)]
    for i, family in enumerate(families):
        lines.append((JUMP_EQ, len(families) - i, 0, family))
    return [*lines, (RETURN, 0, 0, EPERM)]
