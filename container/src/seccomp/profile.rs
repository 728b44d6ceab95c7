//! System calls that a container may make: what programs live on. The rest reaches what is not the container's
//! own (modules, clocks, keyrings, mounts, other namespaces), or is code of the kernel that few have looked at;
//! some of it comes with the capability that the kernel asks for anyway.
//!
//! The set is the one that Docker's users know: what runs there runs here.

use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

/// What a denied call answers: programs know it and go on.
const EPERM: u32 = 1;
/// What `clone3` and `socketcall` answer: what they are to do is in memory, where a filter cannot look, and libraries
/// fall back to `clone` and `socket`.
const ENOSYS: u32 = 38;

/// Files and folders.
const FILES: &str = "access cachestat chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 \
    dup3 faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 \
    fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat \
    fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr \
    getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown lchown32 lgetxattr link \
    linkat listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir \
    mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev \
    pwritev2 read readahead readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir \
    sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statmount statx symlink symlinkat \
    sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 \
    utimes vmsplice write writev";

/// Memory.
const MEMORY: &str = "brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 \
    mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect \
    process_mrelease remap_file_pages";

/// Processes, threads, their rights and signals.
const PROCESSES: &str = "alarm arch_prctl capget capset execve execveat exit exit_group fork futex futex_requeue \
    futex_time64 futex_wait futex_waitv futex_wake getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups \
    getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid getresuid32 getrlimit \
    get_robust_list getrusage getsid get_thread_area gettid getuid getuid32 ioprio_get ioprio_set kill \
    landlock_add_rule landlock_create_ruleset landlock_restrict_self modify_ldt pause pidfd_open \
    pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace restart_syscall rseq rt_sigaction \
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam \
    sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval \
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield \
    seccomp setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority \
    setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit \
    set_robust_list setsid set_thread_area set_tid_address setuid setuid32 sigaltstack signal signalfd signalfd4 \
    sigpending sigprocmask sigreturn sigsuspend sysinfo tgkill times tkill ugetrlimit uname vfork wait4 waitid \
    waitpid";

/// Waiting, pipes, time and randomness.
const EVENTS: &str = "adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 epoll_create epoll_create1 epoll_ctl epoll_ctl_old \
    epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 getcpu getitimer getrandom gettimeofday \
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit nanosleep _newselect \
    pipe pipe2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select setitimer time timer_create timer_delete \
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime \
    timerfd_gettime64 timerfd_settime timerfd_settime64";

/// Sockets, but for `socket` itself, and messages within the container.
const MESSAGES: &str = "accept accept4 bind connect getpeername getsockname getsockopt ipc listen mq_getsetattr \
    mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl \
    msgget msgrcv msgsnd recv recvfrom recvmmsg recvmmsg_time64 recvmsg semctl semget semop semtimedop \
    semtimedop_time64 send sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown socketpair";

/// What each capability brings along: the calls that the kernel lets only its holders make.
const WITH_CAPABILITY: [(Capability, &str); 14] = [
    (Capability::DacReadSearch, "open_by_handle_at"),
    (
        Capability::SysAdmin,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr \
         move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount \
         umount2 unshare",
    ),
    (Capability::SysBoot, "reboot"),
    (Capability::SysChroot, "chroot"),
    (Capability::SysModule, "delete_module finit_module init_module"),
    (Capability::SysPacct, "acct"),
    (Capability::SysPtrace, "kcmp pidfd_getfd process_madvise"),
    (Capability::SysRawio, "ioperm iopl"),
    (Capability::SysTime, "clock_settime clock_settime64 settimeofday stime"),
    (Capability::SysTtyConfig, "vhangup"),
    (Capability::SysNice, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (Capability::Syslog, "syslog"),
    (Capability::Bpf, "bpf"),
    (Capability::Perfmon, "perf_event_open"),
];

/// Flags of `clone` that make namespaces: cgroup, UTS, IPC, user, PID, network, mount.
const NAMESPACE_FLAGS: u64 =
    0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000 | 0x0002_0000;
/// `AF_VSOCK`: reaches the hypervisor, whatever the container's network is.
const AF_VSOCK: u64 = 40;
/// Bits that families of addresses have; beyond them there are none.
const FAMILY_BITS: u32 = 6;
const _: () = assert!(AF_VSOCK < 1 << FAMILY_BITS);
/// Personalities that change nothing dangerous: Linux, 32-bit Linux, both with an old version's name, and asking.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The profile of a container with these capabilities.
pub(crate) fn profile(capabilities: &[Capability]) -> Result<LinuxSeccomp, OciSpecError> {
    let base = [FILES, MEMORY, PROCESSES, EVENTS, MESSAGES];
    let more = WITH_CAPABILITY.iter().filter(|(capability, _)| capabilities.contains(capability));
    let mut names: Vec<String> = base
        .into_iter()
        .chain(more.map(|(_, names)| *names))
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut calls = vec![allow(names).build()?];
    let equal = LinuxSeccompOperator::ScmpCmpEq;
    for personality in PERSONALITIES {
        calls.push(when("personality", equal, personality, None)?);
    }
    calls.extend(sockets()?);
    if !capabilities.contains(&Capability::SysAdmin) {
        let masked = LinuxSeccompOperator::ScmpCmpMaskedEq;
        calls.push(when("clone", masked, NAMESPACE_FLAGS, Some(0))?);
        calls.push(unknown("clone3")?);
    }
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(EPERM)
        .architectures(vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86])
        .syscalls(calls)
        .build()
}

/// `socket` of every family but `AF_VSOCK`. The kernel takes 32 bits of the argument for the family and the filter sees
/// 64, so that a comparison of the whole is led around by a higher bit: each bit in which a family differs allows it.
///
/// 32-bit programs have a second way to make sockets, `socketcall`, with the family in memory: it is not there. It is
/// named after the others, since libseccomp allows it along with each of them.
fn sockets() -> Result<Vec<LinuxSyscall>, OciSpecError> {
    let masked = LinuxSeccompOperator::ScmpCmpMaskedEq;
    let bits = (0..FAMILY_BITS).map(|bit| 1 << bit);
    let mut calls = bits
        .map(|bit| when("socket", masked, bit, Some(!AF_VSOCK & bit)))
        .collect::<Result<Vec<_>, _>>()?;
    calls.push(unknown("socketcall")?);
    Ok(calls)
}

/// A call that answers as if the kernel had never heard of it.
fn unknown(name: &str) -> Result<LinuxSyscall, OciSpecError> {
    LinuxSyscallBuilder::default()
        .names(vec![name.to_owned()])
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(ENOSYS)
        .build()
}

fn allow(names: Vec<String>) -> LinuxSyscallBuilder {
    LinuxSyscallBuilder::default().names(names).action(LinuxSeccompAction::ScmpActAllow)
}

/// Allows a call whose first argument fits.
fn when(
    name: &str,
    operator: LinuxSeccompOperator,
    value: u64,
    value_two: Option<u64>,
) -> Result<LinuxSyscall, OciSpecError> {
    let argument = LinuxSeccompArgBuilder::default().index(0_usize).value(value).op(operator);
    let argument = match value_two {
        Some(value) => argument.value_two(value),
        None => argument,
    };
    allow(vec![name.to_owned()]).args(vec![argument.build()?]).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(capabilities: &[Capability]) -> Vec<String> {
        profile(capabilities).unwrap().syscalls().as_ref().unwrap()[0].names().clone()
    }

    #[test]
    fn what_is_not_listed_is_denied() {
        let profile = profile(&[]).unwrap();
        assert_eq!(profile.default_action(), LinuxSeccompAction::ScmpActErrno);
        let names = plain(&[]);
        for denied in [
            "add_key",
            "bpf",
            "chroot",
            "clone",
            "clone3",
            "init_module",
            "io_uring_setup",
            "kexec_load",
            "keyctl",
            "mount",
            "open_by_handle_at",
            "perf_event_open",
            "personality",
            "pivot_root",
            "reboot",
            "request_key",
            "setns",
            "settimeofday",
            "socket",
            "socketcall",
            "swapon",
            "umount2",
            "unshare",
            "userfaultfd",
        ] {
            assert!(!names.contains(&denied.to_owned()), "{denied}");
        }
        for allowed in ["read", "execve", "openat2", "futex_waitv", "rseq", "statx"] {
            assert!(names.contains(&allowed.to_owned()), "{allowed}");
        }
    }

    #[test]
    fn a_capability_brings_its_calls() {
        let names = plain(&[Capability::SysAdmin, Capability::SysChroot]);
        for allowed in ["mount", "clone", "clone3", "chroot", "unshare"] {
            assert!(names.contains(&allowed.to_owned()), "{allowed}");
        }
        let all = profile(&[Capability::SysAdmin]).unwrap();
        let conditional = |name: &str| {
            let calls = all.syscalls().as_ref().unwrap();
            calls.iter().skip(1).filter(|call| call.names()[0] == name).count()
        };
        assert_eq!((conditional("clone"), conditional("clone3"), conditional("socket")), (0, 0, 6));
    }

    #[test]
    fn every_call_is_listed_once() {
        let words: Vec<&str> = [FILES, MEMORY, PROCESSES, EVENTS, MESSAGES]
            .into_iter()
            .flat_map(str::split_whitespace)
            .collect();
        let mut unique = words.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), words.len());
    }
}
