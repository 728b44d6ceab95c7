//! System calls that programs expect, asked in a way that does nothing: a kernel that was built without one says so.

use rustix::io::Errno;

use crate::attempts::{Attempt, NO_FILE, call};

/// Numbers that libc does not have yet.
const CACHESTAT: libc::c_long = 451;
const STATMOUNT: libc::c_long = 457;
const LISTMOUNT: libc::c_long = 458;
/// Of System V's queues, semaphores and memory.
const NOBODYS_KEY: libc::c_long = 0x4665_7272;

/// Calls that programs of the last ten years make, with arguments that the kernel refuses or that ask it something.
const EXPECTED: [Attempt; 44] = [
    ("add_key", libc::SYS_add_key, [0, 0, 0]),
    ("bpf", libc::SYS_bpf, [NO_FILE, 0, 0]),
    ("cachestat", CACHESTAT, [NO_FILE, 0, 0]),
    ("clone3", libc::SYS_clone3, [0, 0, 0]),
    ("copy_file_range", libc::SYS_copy_file_range, [NO_FILE, 0, NO_FILE]),
    ("epoll_create1", libc::SYS_epoll_create1, [-1, 0, 0]),
    ("eventfd2", libc::SYS_eventfd2, [0, -1, 0]),
    ("fanotify_init", libc::SYS_fanotify_init, [-1, 0, 0]),
    ("fsopen", libc::SYS_fsopen, [0, 0, 0]),
    ("futex_waitv", libc::SYS_futex_waitv, [0, 0, -1]),
    ("get_mempolicy", libc::SYS_get_mempolicy, [0, 0, 0]),
    ("inotify_init1", libc::SYS_inotify_init1, [-1, 0, 0]),
    ("io_setup", libc::SYS_io_setup, [0, 0, 0]),
    ("io_uring_setup", libc::SYS_io_uring_setup, [0, 0, 0]),
    ("kcmp", libc::SYS_kcmp, [0, 0, -1]),
    ("kexec_file_load", libc::SYS_kexec_file_load, [NO_FILE, NO_FILE, 0]),
    ("keyctl", libc::SYS_keyctl, [0, -3, 0]),
    ("landlock_create_ruleset", libc::SYS_landlock_create_ruleset, [0, 0, 1]),
    ("listmount", LISTMOUNT, [0, 0, 0]),
    ("membarrier", libc::SYS_membarrier, [0, 0, 0]),
    ("memfd_create", libc::SYS_memfd_create, [0, -1, 0]),
    ("memfd_secret", libc::SYS_memfd_secret, [0x4000, 0, 0]),
    ("mount_setattr", libc::SYS_mount_setattr, [NO_FILE, 0, 0]),
    ("move_pages", libc::SYS_move_pages, [0, 0, 0]),
    ("mq_open", libc::SYS_mq_open, [0, 0, 0]),
    ("msgget", libc::SYS_msgget, [NOBODYS_KEY, 0, 0]),
    ("name_to_handle_at", libc::SYS_name_to_handle_at, [NO_FILE, 0, 0]),
    ("openat2", libc::SYS_openat2, [NO_FILE, 0, 0]),
    ("perf_event_open", libc::SYS_perf_event_open, [0, 0, 0]),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, [NO_FILE, NO_FILE, 0]),
    ("pidfd_open", libc::SYS_pidfd_open, [-1, 0, 0]),
    ("process_madvise", libc::SYS_process_madvise, [NO_FILE, 0, 0]),
    ("process_vm_readv", libc::SYS_process_vm_readv, [0, 0, 0]),
    ("quotactl_fd", libc::SYS_quotactl_fd, [NO_FILE, 0, 0]),
    ("rseq", libc::SYS_rseq, [0, 0, -1]),
    ("sched_setattr", libc::SYS_sched_setattr, [0, 0, 0]),
    ("seccomp", libc::SYS_seccomp, [2, 0, 0]),
    ("semget", libc::SYS_semget, [NOBODYS_KEY, 0, 0]),
    ("shmget", libc::SYS_shmget, [NOBODYS_KEY, 0, 0]),
    ("signalfd4", libc::SYS_signalfd4, [NO_FILE, 0, 0]),
    ("statmount", STATMOUNT, [0, 0, 0]),
    ("swapon", libc::SYS_swapon, [0, 0, 0]),
    ("timerfd_create", libc::SYS_timerfd_create, [-1, 0, 0]),
    ("userfaultfd", libc::SYS_userfaultfd, [0x4000_0000, 0, 0]),
];

/// Names of the calls among [`EXPECTED`] that the kernel does not know.
#[must_use]
pub fn unknown() -> Vec<&'static str> {
    // The second is what a security module answers that is there and turned off.
    let missing = [Err(Errno::NOSYS), Err(Errno::OPNOTSUPP)];
    let asked =
        EXPECTED.into_iter().map(|(name, number, arguments)| (name, call(number, arguments)));
    asked.filter(|(_, answer)| missing.contains(answer)).map(|(name, _)| name).collect()
}
