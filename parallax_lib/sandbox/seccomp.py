"""A system-call filter for untrusted programs, as the classic BPF bytes that bubblewrap's --seccomp takes.

Knows call numbers of x86_64 and aarch64.  Knows nothing of sandboxes or programs.

Refused (EPERM) are kernel surface that no benchmark program needs (keyrings, io_uring, bpf, perf, ptrace, mounts,
modules) and memory that no process's resident set shows (memfd, SysV shared memory, POSIX queues), which would slip
under the memory limit.  Sockets are limited to four families, so AF_VSOCK and AF_ALG are out.
Pages that can be written and executed end a process, except beside a GPU, whose driver may need them.

Without namespaces the filter also stands for what Landlock does not keep apart.  There is no socket at all, or for a GPU's
driver a local one that listens and connects to nobody.  Limits, priorities and, where Landlock has no scope for signals,
signals reach the process itself only: a process that it forks cannot send itself one either.  Calls that change the mode,
owner, times or attributes of a file, about which Landlock is never asked, do nothing and say that they did: tar and linkers
make such calls and need none.
"""

from __future__ import annotations

import platform
import struct

LOAD, JUMP_EQ, JUMP_GE, JUMP_SET, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
ALLOW, KILL, NOTHING, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050000, 0x00050000 | 1, 0x00050000 | 38
NUMBER, ARCHITECTURE, FIRST_ARGUMENT, SECOND_ARGUMENT = 0, 4, 16, 24  # offsets in struct seccomp_data, little endian
X32_BIT = 0x40000000
FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PROTECTS = {"mmap": (9, 222), "mprotect": (10, 226), "pkey_mprotect": (329, 288)}  # the third argument says how
THIRD_ARGUMENT, WRITE_AND_EXECUTE = 32, 6
HIDDEN_MEMORY = {"memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "mq_open": (240, 180)}
SOCKET, SOCKETPAIR, CONNECT, CLONE, CLONE3 = (41, 198), (53, 199), (42, 203), (56, 220), (435, 435)
STREAM, PACKETS, KIND_BITS = 1, 5, 0xF  # of a socket's type
NEW_NAMESPACES = 0x7E020000  # clone's flags for mounts, cgroups, host names, IPC, users, processes and the network
SELF = 0x5E1F5E1F  # stands for the process's own number, which is known only where the filter is installed
BY_FIRST = {"prlimit64": (302, 261), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
            "sched_setaffinity": (203, 122), "sched_setattr": (314, 274)}  # fmt: skip
BY_SECOND = {"setpriority": (141, 140), "ioprio_set": (251, 30)}
SIGNALS = {"kill": (62, 129), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240)}
BLIND_SIGNALS = {"tkill": (200, 130), "pidfd_send_signal": (424, 424)}  # by numbers that say nothing of the process
METADATA = {  # -1: not on this machine
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, -1), "fchown": (93, 55),
    "lchown": (94, -1), "fchownat": (260, 54), "utime": (132, -1), "utimes": (235, -1), "futimesat": (261, -1), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
}  # fmt: skip
TRUNCATE = {"truncate": (76, 45)}
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
    "msgget": (68, 186), "semget": (64, 190),  # they outlive the process and are everybody's without a namespace
    "reboot": (169, 142), "swapon": (167, 224), "acct": (163, 89), "quotactl": (179, 60), "syslog": (103, 116),
}  # fmt: skip


def program(hidden_memory: bool = False, machine: str = "", landlock_abi: int = 0) -> bytes:
    """The filter's bytes, b"" on a machine whose numbers are not listed.

    `hidden_memory` allows memfd and shared segments: the GPU driver needs them.  `landlock_abi`: Landlock's version where it
    stands for namespaces, else 0; SELF in these bytes stands for the number of the process that installs them.
    """
    machine = machine or platform.machine()
    if machine not in AUDIT:
        return b""
    column = list(AUDIT).index(machine)
    lines = [(LOAD, 0, 0, ARCHITECTURE), (JUMP_EQ, 1, 0, AUDIT[machine]), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER)]
    if machine == "x86_64":
        lines += [(JUMP_GE, 0, 1, X32_BIT), (RETURN, 0, 0, EPERM)]
    refused = [REFUSED, *(() if hidden_memory else (HIDDEN_MEMORY,)), *_unshared(landlock_abi, hidden_memory)]
    for number in (numbers[column] for calls in refused for numbers in calls.values() if numbers[column] >= 0):
        lines += [(JUMP_EQ, 0, 1, number), (RETURN, 0, 0, EPERM)]
    for number in (numbers[column] for numbers in METADATA.values() if landlock_abi and numbers[column] >= 0):
        lines += [(JUMP_EQ, 0, 1, number), (RETURN, 0, 0, NOTHING)]
    for numbers in () if hidden_memory else PROTECTS.values():
        lines += _no_writable_code(numbers[column])
    if landlock_abi:
        lines += _alone(column, landlock_abi)
        lines += _local_sockets(SOCKET[column]) + _local_sockets(SOCKETPAIR[column])
    else:
        lines += _among(SOCKET[column], FIRST_ARGUMENT, FAMILIES)
    lines += [(RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("<HBBI", code, yes, no, value) for code, yes, no, value in lines)


def _unshared(abi: int, gpu: bool) -> list[dict[str, tuple[int, int]]]:
    """Tables of the calls that a run without namespaces must not make at all, by Landlock's version."""
    tables = [{"connect": CONNECT} if gpu else {"socket": SOCKET}]
    tables += [TRUNCATE] if abi < 3 else []
    return [*tables, *([BLIND_SIGNALS] if abi < 6 else [])] if abi else []


def _alone(column: int, abi: int) -> list[tuple[int, int, int, int]]:
    """Calls that name a process may name the caller only; no namespaces of its own, and clone3, whose flags cannot be read, is unknown."""
    lines = []
    for numbers in (*BY_FIRST.values(), *(SIGNALS.values() if abi < 6 else ())):
        lines += _among(numbers[column], FIRST_ARGUMENT, (0, SELF))
    for numbers in BY_SECOND.values():
        lines += _among(numbers[column], SECOND_ARGUMENT, (0, SELF))
    lines += [(JUMP_EQ, 0, 4, CLONE[column]), (LOAD, 0, 0, FIRST_ARGUMENT), (JUMP_SET, 0, 1, NEW_NAMESPACES)]
    lines += [(RETURN, 0, 0, EPERM), (RETURN, 0, 0, ALLOW)]
    return [*lines, (JUMP_EQ, 0, 1, CLONE3[column]), (RETURN, 0, 0, ENOSYS)]


def _among(number: int, argument: int, values: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """One call with one argument among `values` only; any other call falls through."""
    lines = [(JUMP_EQ, 0, 3 + len(values), number), (LOAD, 0, 0, argument)]
    lines += [(JUMP_EQ, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [*lines, (RETURN, 0, 0, EPERM), (RETURN, 0, 0, ALLOW)]


def _local_sockets(number: int) -> list[tuple[int, int, int, int]]:
    """Sockets of AF_UNIX whose kind has to connect before it sends; every other kind takes datagrams, which name their receiver."""
    lines = [(JUMP_EQ, 0, 8, number), (LOAD, 0, 0, FIRST_ARGUMENT), (JUMP_EQ, 0, 4, FAMILIES[0])]
    lines += [(LOAD, 0, 0, SECOND_ARGUMENT), (AND, 0, 0, KIND_BITS), (JUMP_EQ, 2, 0, STREAM), (JUMP_EQ, 1, 0, PACKETS)]
    return [*lines, (RETURN, 0, 0, EPERM), (RETURN, 0, 0, ALLOW)]


def _no_writable_code(number: int) -> list[tuple[int, int, int, int]]:
    """A call that asks for pages that can be written and executed ends the process; any other call falls through."""
    lines = [(JUMP_EQ, 0, 5, number), (LOAD, 0, 0, THIRD_ARGUMENT), (AND, 0, 0, WRITE_AND_EXECUTE)]
    return [*lines, (JUMP_EQ, 0, 1, WRITE_AND_EXECUTE), (RETURN, 0, 0, KILL), (RETURN, 0, 0, ALLOW)]
