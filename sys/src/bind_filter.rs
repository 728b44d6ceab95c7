//! Programs in the kernel that keep processes of control groups from binding sockets to ports of the node.
//!
//! # Source
//! `bpf(2)`, `include/uapi/linux/bpf.h`: `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`, `struct bpf_sock_addr`.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::bpf::{
    self, CALL, COPY, EXIT, Hook, Instruction, JUMP_UNEQUAL, JUMP_UNLIKE, LOAD_WORD, MOVE,
    instruction,
};

/// A port's protocol; the value is `IPPROTO_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    /// TCP. What is built on it (MPTCP, SMC) binds a socket of TCP, too.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

/// A port that nobody may bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Its number, in the processor's order.
    pub number: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// `bpf_get_netns_cookie(context)`: which network namespace a socket is in; of no context, the node's own.
const NETWORK_NAMESPACE: i32 = 122;
/// In `struct bpf_sock_addr`.
const USER_PORT: i16 = 24;
const PROTOCOL: i16 = 36;

/// The program: context in register 1, kept in 6; the node's network namespace in 7, port and protocol in 2 and 3.
/// Sockets of other network namespaces may have any port.
fn program(ports: &[Port]) -> Result<Vec<Instruction>, Errno> {
    // Two comparisons and an end for each port, after two loads.
    let all = ports.len().checked_mul(4).and_then(|length| length.checked_add(2));
    let all = all.and_then(|length| i16::try_from(length).ok()).ok_or(Errno::TOOBIG)?;
    let mut program = vec![
        instruction(COPY, 0x16, 0, 0),
        instruction(MOVE, 0x01, 0, 0),
        instruction(CALL, 0, 0, NETWORK_NAMESPACE),
        instruction(COPY, 0x07, 0, 0),
        instruction(COPY, 0x61, 0, 0),
        instruction(CALL, 0, 0, NETWORK_NAMESPACE),
        instruction(JUMP_UNLIKE, 0x70, all, 0),
        instruction(LOAD_WORD, 0x62, USER_PORT, 0),
        instruction(LOAD_WORD, 0x63, PROTOCOL, 0),
    ];
    for port in ports {
        // As the context has it: in the network's order.
        program.push(instruction(JUMP_UNEQUAL, 0x02, 3, i32::from(port.number.to_be())));
        program.push(instruction(JUMP_UNEQUAL, 0x03, 2, i32::from(port.protocol as u8)));
        program.push(instruction(MOVE, 0x00, 0, 0));
        program.push(instruction(EXIT, 0, 0, 0));
    }
    program.push(instruction(MOVE, 0x00, 0, 1));
    program.push(instruction(EXIT, 0, 0, 0));
    Ok(program)
}

/// Keeps the processes of `cgroup`, a folder of cgroup v2, and of all groups below from binding sockets of the
/// node's own network namespace to `ports`: EPERM. It holds until the group is removed; where something is attached
/// already, it stays as it is. Sockets that were bound before stay bound.
///
/// Programs of a group below are asked first, so none of them can put such a port in the place of another.
///
/// # Errors
/// Those of `bpf(2)`: no such program type on this kernel, no right to load one.
pub fn deny(cgroup: BorrowedFd<'_>, ports: &[Port]) -> Result<(), Errno> {
    for hook in [Hook::Bind4, Hook::Bind6] {
        // Two that see nothing at the same time both attach one, which does no harm.
        if bpf::attached(cgroup, hook)? == 0 {
            let program = bpf::load(hook, &program(ports)?)?;
            bpf::attach(cgroup, hook, program.as_fd())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::interpreter::{self, CONTEXT};

    const OF_NODE: u64 = 7 << 40 | 1;

    /// What is answered to a socket of the network namespace `namespace`.
    fn ask(ports: &[Port], namespace: u64, number: u16, protocol: u32) -> u64 {
        let mut context = [0xffff_ffff; 18];
        context[6] = u32::from(number.to_be());
        context[9] = protocol;
        interpreter::run(&program(ports).unwrap(), &context, |function, argument| {
            assert_eq!(function, NETWORK_NAMESPACE);
            match argument {
                0 => OF_NODE,
                CONTEXT => namespace,
                other => panic!("{other:#x}"),
            }
        })
    }

    #[test]
    fn only_ports_of_the_node_are_denied_and_only_on_the_node() {
        let port = |number, protocol| Port { number, protocol };
        let ports = [
            port(7443, Protocol::Tcp),
            port(53, Protocol::Tcp),
            port(53, Protocol::Udp),
            port(68, Protocol::Udp),
        ];
        let (tcp, udp, udp_lite) = (6, 17, 136);
        for (number, protocol, expected) in [
            (7443, tcp, 0),
            (7443, udp, 1),
            (53, tcp, 0),
            (53, udp, 0),
            (53, udp_lite, 1),
            (68, udp, 0),
            (68, tcp, 1),
            (0, tcp, 1),
            (0, udp, 1),
            (8080, tcp, 1),
            // The same two bytes in the other order.
            (53 << 8, udp, 1),
            (7443_u16.swap_bytes(), tcp, 1),
        ] {
            assert_eq!(ask(&ports, OF_NODE, number, protocol), expected, "{number} {protocol}");
            // Alike in the lower half.
            for namespace in [1, 2, OF_NODE + 1] {
                assert_eq!(ask(&ports, namespace, number, protocol), 1, "{number} {protocol}");
            }
        }
        assert_eq!(ask(&[], OF_NODE, 53, udp), 1);
    }

    #[test]
    fn a_program_that_could_not_jump_over_its_ports_is_not_made() {
        let port = Port { number: 1, protocol: Protocol::Tcp };
        assert_eq!(ask(&[port; 8191], 1, 1, 6), 1);
        assert_eq!(program(&[port; 8192]), Err(Errno::TOOBIG));
    }
}
