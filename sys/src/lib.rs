//! Kernel calls that rustix and nix lack, as safe functions over owned types.
//!
//! One file per topic. Nothing here decides anything: a call is made, its errno comes back.
#![expect(unsafe_code, reason = "the one crate that may: every other denies it")]

pub mod attempts;
pub mod bind_filter;
pub mod block;
pub mod cgroup;
pub mod child;
pub mod confined;
pub mod device_filter;
pub mod device_mapper;
pub mod execute;
pub mod expected;
pub mod ext4;
pub mod hypervisor;
pub mod idmap;
pub mod inherited;
pub mod kexec;
pub mod memory;
pub mod packet;
pub mod quota;
pub mod reaper;
pub mod seccomp;
pub mod signal;
pub mod tsc;
pub mod watchdog;

mod bpf;

/// What the last failed libc call left in errno.
fn last_errno() -> rustix::io::Errno {
    std::io::Error::last_os_error()
        .raw_os_error()
        .map_or(rustix::io::Errno::IO, rustix::io::Errno::from_raw_os_error)
}
