//! How `ferrite-agent` is linked.
//!
//! What runs in a node's first minute lies together, in the order in which it runs (`start-up.ld`): two thirds of a node's way to its
//! API are dm-verity's hashes of the pages that the agent is read from, and of what is mapped around a page that is run, most is
//! run as well. A function that is not in the list, or is called otherwise by now, costs a page more and nothing else.
//!
//! The 20,000 addresses that are mended at each start, since the program lies anywhere, are 6 KB in the packed form instead of 500.
//! glibc does that from 2.36 on, which Debian 12 has.

use std::path::Path;

const ORDER: &str = "start-up.ld";

fn main() {
    let order = Path::new(env!("CARGO_MANIFEST_DIR")).join(ORDER);
    for argument in ["-Wl,-z,pack-relative-relocs", &format!("-Wl,-T,{}", order.display())] {
        println!("cargo:rustc-link-arg-bin=ferrite-agent={argument}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={ORDER}");
}
