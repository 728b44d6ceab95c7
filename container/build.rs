//! Links `ferrite-oci` at a fixed address: moved, it has 25,000 addresses to mend at each start, on 120 pages that are
//! copied for it and again for what it forks, which is 6 % of the way to a container's first instruction. The price is
//! that its code is where an attacker expects it, also in a `run` that waits for its container; its heap and stacks stay
//! at random addresses.
//!
//! `ferrite-container` lies anywhere; the addresses that are mended for that are 8 KB in the packed form instead of 613, which a
//! node reads through dm-verity before its first container. glibc does that from 2.36 on, which Debian 12 has.

fn main() {
    for argument in ["-static", "-no-pie"] {
        println!("cargo:rustc-link-arg-bin=ferrite-oci={argument}");
    }
    println!("cargo:rustc-link-arg-bin=ferrite-container=-Wl,-z,pack-relative-relocs");
    println!("cargo:rerun-if-changed=build.rs");
}
