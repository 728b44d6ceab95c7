//! How `ferrite-init` is linked: the addresses that are mended at each start, since the program lies anywhere, take 2 KB in the
//! packed form instead of 114. glibc does that from 2.36 on, which Debian 12 has.

fn main() {
    println!("cargo:rustc-link-arg-bin=ferrite-init=-Wl,-z,pack-relative-relocs");
    println!("cargo:rerun-if-changed=build.rs");
}
