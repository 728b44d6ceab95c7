//! The keys that detach: ctrl-p, then ctrl-q.

const CTRL_P: u8 = 0x10;
const CTRL_Q: u8 = 0x11;

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// For the container.
    Pass(Vec<u8>),
    /// The person wants to leave.
    Detach,
}

/// Watches what is typed.
#[derive(Debug)]
pub(super) struct Keys {
    watching: bool,
    /// ctrl-p was typed and is held back.
    held: bool,
}

impl Keys {
    /// Without `watching`, everything is passed.
    pub(super) fn new(watching: bool) -> Self {
        Self { watching, held: false }
    }

    /// Takes a chunk of input.
    pub(super) fn type_in(&mut self, chunk: &[u8]) -> Typed {
        if !self.watching {
            return Typed::Pass(chunk.to_vec());
        }
        let mut passed = Vec::new();
        for byte in chunk {
            match (self.held, *byte) {
                (true, CTRL_Q) => return Typed::Detach,
                (true, other) => {
                    passed.push(CTRL_P);
                    self.held = other == CTRL_P;
                    if !self.held {
                        passed.push(other);
                    }
                }
                (false, CTRL_P) => self.held = true,
                (false, other) => passed.push(other),
            }
        }
        Typed::Pass(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_both_keys_in_order_detach() {
        let mut keys = Keys::new(true);
        assert_eq!(keys.type_in(b"a\x11b\x10"), Typed::Pass(b"a\x11b".to_vec()));
        assert_eq!(keys.type_in(b"c\x10\x10"), Typed::Pass(b"\x10c\x10".to_vec()));
        assert_eq!(keys.type_in(b"\x11never"), Typed::Detach);
        assert_eq!(Keys::new(false).type_in(b"\x10\x11"), Typed::Pass(b"\x10\x11".to_vec()));
    }
}
