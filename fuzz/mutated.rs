//! Inputs near those of a corpus, for tests with the ordinary compiler: seeded, so that what falls once falls again. It knows
//! nothing of coverage; a fuzzer does. For crates beside this folder.

use std::fs;
use std::path::Path;

/// Words that open other ways than bytes do.
const WORDS: [&[u8]; 16] = [
    b"null",
    b"true",
    b"-1",
    b"0",
    b"18446744073709551616",
    b"1e400",
    b"0.1",
    b"[]",
    b"{}",
    b"\"\"",
    b"\\ud800",
    b"\"x\":1,",
    b"\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xc0\x0c",
];
/// Longest input that is made.
const MAX_BYTES: usize = 8192;

/// Every file of the corpus `name`, and so many inputs near them, pass the check.
pub(crate) fn look(name: &str, count: u64, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(corpus.len() > 3, "{} holds {} files", folder.display(), corpus.len());
    let falls = |input: &[u8]| std::panic::catch_unwind(|| check(input)).is_err();
    for (path, input) in files.iter().zip(&corpus) {
        assert!(!falls(input), "{}", path.display());
    }
    for input in mutated(&corpus, count) {
        assert!(!falls(&input), "{input:?}: {}", String::from_utf8_lossy(&input));
    }
}

/// So many inputs: pieces of the corpus, changed in one to eight places.
fn mutated(corpus: &[Vec<u8>], count: u64) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..count).map(|seed| {
        let mut dice = Dice(seed);
        let mut input = dice.one(corpus);
        for _ in 0..=dice.below(8) {
            change(&mut input, &mut dice, corpus);
            input.truncate(MAX_BYTES);
        }
        input
    })
}

fn change(input: &mut Vec<u8>, dice: &mut Dice, corpus: &[Vec<u8>]) {
    let at = dice.below(input.len() + 1);
    let end = (at + dice.below(16)).min(input.len());
    match dice.below(7) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = u8::try_from(dice.below(256)).unwrap_or_default();
            }
        }
        2 => drop(input.drain(at..end)),
        3 => {
            let again = input[at..end].to_vec();
            drop(input.splice(at..at, again));
        }
        4 => drop(input.splice(at..end, WORDS[dice.below(WORDS.len())].iter().copied())),
        5 => input.truncate(at),
        _ => {
            let other = dice.one(corpus);
            let from = dice.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(end.max(1)).unwrap_or(1))
            .unwrap_or(0)
    }

    fn one(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        corpus[self.below(corpus.len())].clone()
    }
}
