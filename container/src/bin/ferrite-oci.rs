//! `ferrite-oci`: our containers behind the command line of other runtimes, for podman, containerd and conformance
//! suites. Not part of the OS image.

use std::process::ExitCode;

fn main() -> ExitCode {
    ferrite_container::oci::main(std::env::args().skip(1).collect())
}
