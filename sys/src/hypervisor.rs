//! What the processor is, where it is no real one.

use std::arch::x86_64::__cpuid;

/// Leaf with the hypervisor's name in EBX, ECX and EDX (Linux, `Documentation/virt/kvm/x86/cpuid.rst`).
const LEAF: u32 = 0x4000_0000;
/// How QEMU's emulator calls itself (`tcg_cpuid`, `target/i386/cpu.c`).
const EMULATOR: &[u8; 12] = b"TCGTCGTCGTCG";

/// The processor is emulated in software: everything takes ten times as long as on a real one.
#[must_use]
pub fn is_emulated() -> bool {
    let name = __cpuid(LEAF);
    let words = [name.ebx, name.ecx, name.edx].map(u32::to_le_bytes);
    words.as_flattened() == EMULATOR
}
