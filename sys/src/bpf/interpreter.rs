//! Runs programs as the kernel would, for tests.

use super::{
    AND, CALL, COPY, COPY_WORD, EXIT, Instruction, JUMP_UNEQUAL, JUMP_UNLIKE, LOAD_WORD, MOVE,
    SHIFT_RIGHT,
};

/// What the context's address looks like to the program.
pub(crate) const CONTEXT: u64 = 0xc0de_0000_0000;

/// What `program` answers; `call` answers for the kernel's functions by number and first argument.
pub(crate) fn run(program: &[Instruction], context: &[u32], call: impl Fn(i32, u64) -> u64) -> u64 {
    // What is read before it was written is no number that anybody expects.
    let mut registers = [0xdead_dead_dead_dead_u64; 10];
    registers[1] = CONTEXT;
    let mut next = 0;
    loop {
        let Instruction { code, registers: fields, offset, immediate } = program[next];
        let (target, source) = (usize::from(fields & 0xf), usize::from(fields >> 4));
        let word = registers[target] & u64::from(u32::MAX);
        next += 1;
        let unequal = match code {
            JUMP_UNEQUAL => word != u64::from(immediate.cast_unsigned()),
            JUMP_UNLIKE => registers[target] != registers[source],
            _ => false,
        };
        if unequal {
            next += usize::try_from(offset).unwrap();
        }
        match code {
            LOAD_WORD => {
                assert_eq!(registers[source], CONTEXT);
                assert_eq!(offset % 4, 0);
                let word = context[usize::try_from(offset / 4).unwrap()];
                registers[target] = u64::from(word);
            }
            AND => registers[target] = word & u64::from(immediate.cast_unsigned()),
            SHIFT_RIGHT => registers[target] = word >> immediate,
            COPY_WORD => registers[target] = registers[source] & u64::from(u32::MAX),
            COPY => registers[target] = registers[source],
            MOVE => registers[target] = i64::from(immediate).cast_unsigned(),
            JUMP_UNEQUAL | JUMP_UNLIKE => {}
            CALL => {
                registers[0] = call(immediate, registers[1]);
                registers[1..6].fill(0xdead_dead_dead_dead);
            }
            EXIT => return registers[0],
            other => panic!("{other:#x}"),
        }
    }
}
