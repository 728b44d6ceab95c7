//! What the kernel itself asks of programs: a hypervisor's wish that the machine goes down.
//!
//! A kernel that is built so (`CONFIG_STATIC_USERMODEHELPER`) runs PID 1's own program, in a process of its own, for
//! whatever it would run, and says by the program's name which one that was. Other kernels run the named program, which Ferrite does
//! not have; they then go down at once.
//!
//! # Source
//! The kernel's `kernel/reboot.c` (`orderly_poweroff`, `orderly_reboot`); Hyper-V's and Xen's drivers call them.

use ferrite_schema::control::{Request, ShutdownMode};
use ferrite_schema::names;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};

/// Room for the answer, which nobody reads.
const ANSWER_BYTES: usize = 64;

/// How the machine is to go down, where the kernel runs this program as `/sbin/poweroff` or `/sbin/reboot`.
#[must_use]
pub fn asked_for(mut arguments: impl Iterator<Item = String>) -> Option<ShutdownMode> {
    let mode = match arguments.next()?.as_str() {
        "/sbin/poweroff" => ShutdownMode::Poweroff,
        "/sbin/reboot" => ShutdownMode::Reboot,
        _ => return None,
    };
    arguments.next().is_none().then_some(mode)
}

/// Has PID 1 go down in order.
///
/// # Errors
/// PID 1 cannot be reached.
pub fn pass_on(mode: ShutdownMode) -> Result<(), Errno> {
    let reason = "the hypervisor, or the kernel, asks for it".to_owned();
    let packet =
        serde_json::to_vec(&Request::Shutdown { mode, reason }).map_err(|_ours| Errno::INVAL)?;
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(names::CONTROL_SOCKET)?)?;
    send(&socket, &packet, SendFlags::NOSIGNAL)?;
    // PID 1 takes no packet of a client that is gone.
    recv(&socket, &mut [0; ANSWER_BYTES][..], RecvFlags::TRUNC).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_words_are_a_wish() {
        let check = |line: &str, expected| {
            let words = line.split_whitespace().map(str::to_owned);
            assert_eq!(asked_for(words), expected, "{line}");
        };
        check("/sbin/poweroff", Some(ShutdownMode::Poweroff));
        check("/sbin/reboot", Some(ShutdownMode::Reboot));
        check("/sbin/poweroff now", None);
        check("/usr/bin/ferrite-init", None);
        check("/usr/bin/ferrite-init -q -- fs-overlay", None);
        check("/usr/bin/ferrite-init --drivers", None);
        check("/sbin/request-key create 1 0 0 0 0 0", None);
        check("", None);
    }
}
