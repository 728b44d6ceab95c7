//! Makes the kernel hurry while the machine boots.
//!
//! Loading a module, enabling a control group's controller and many other things wait for every processor to
//! pass through a quiet moment (RCU). The kernel expedites that for itself and stops when PID 1 starts; going
//! on until the node is ready saves tens of milliseconds for each. It costs other programs interruptions,
//! which is why it ends.

use std::fs;

use crate::log;

const EXPEDITED: &str = "/sys/kernel/rcu_expedited";

/// Call it as soon as `/sys` is mounted. A kernel that cannot is only slower.
pub fn begin() {
    fs::write(EXPEDITED, "1").ok();
}

/// The node is ready.
pub fn end() {
    if let Err(error) = fs::write(EXPEDITED, "0") {
        log::debug(format_args!("{EXPEDITED} is left as it is: {error}"));
    }
}
