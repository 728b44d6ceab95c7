//! Where pieces of lines are shown that somebody follows: at once, on the line that they go on where nothing came between.

use ferrite_schema::api::{LogLine, Stream};

/// Whose line it is: the unit's place, its stream and its run.
type Of = (usize, Stream, u64);

/// Lines that were shown without their ends.
#[derive(Default)]
pub(super) struct Unended {
    /// The one at whose end nothing else was shown.
    open: Option<Of>,
    /// Those behind which something else was shown.
    interrupted: Vec<Of>,
}

/// How a line is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// On this stream of this unit's a line is to be ended first.
    pub(super) end_first: Option<(usize, Stream)>,
    /// It goes on with what stands there.
    pub(super) goes_on: bool,
    /// It stays without its end.
    pub(super) stays_open: bool,
}

impl Placed {
    /// A line on its own.
    pub(super) const WHOLE: Self = Self { end_first: None, goes_on: false, stays_open: false };
}

impl Unended {
    /// Takes a line or a piece of one; nothing where there is nothing to show of it.
    pub(super) fn place(&mut self, index: usize, line: &LogLine) -> Option<Placed> {
        let of = (index, line.stream, line.run);
        let interrupted = self.interrupted.iter().position(|other| *other == of);
        if interrupted.is_some() && line.line.is_empty() {
            // Its end alone: it was ended by what came between.
            if !line.partial {
                self.interrupted.retain(|other| *other != of);
            }
            return None;
        }
        self.interrupted.retain(|other| *other != of);
        let goes_on = self.open == Some(of);
        let broken = self.open.take().filter(|_| !goes_on);
        self.interrupted.extend(broken);
        self.open = line.partial.then_some(of);
        let end_first = broken.map(|(index, stream, _)| (index, stream));
        Some(Placed { end_first, goes_on, stays_open: line.partial })
    }

    /// What is to be ended where nothing more comes.
    pub(super) fn end(self) -> Option<(usize, Stream)> {
        self.open.map(|(index, stream, _)| (index, stream))
    }
}

#[cfg(test)]
mod tests {
    use super::Stream::{Stderr, Stdout};
    use super::*;

    /// What a terminal shows, both streams on it.
    fn shown(lines: &[(usize, Stream, u64, &str, bool)]) -> String {
        let (mut unended, mut text) = (Unended::default(), String::new());
        for (index, stream, run, words, partial) in lines {
            let line = LogLine {
                time_us: 0,
                stream: *stream,
                run: *run,
                line: (*words).to_owned(),
                partial: *partial,
            };
            let Some(placed) = unended.place(*index, &line) else { continue };
            text.push_str(if placed.end_first.is_some() { "\n" } else { "" });
            if !placed.goes_on {
                text.push_str(&format!("{index}|"));
            }
            text.push_str(words);
            text.push_str(if placed.stays_open { "" } else { "\n" });
        }
        text + if unended.end().is_some() { "$" } else { "" }
    }

    #[test]
    fn a_piece_is_shown_when_it_comes() {
        assert_eq!(shown(&[(0, Stdout, 1, "name? ", true)]), "0|name? $");
        let bar = [
            (0, Stderr, 1, "10 %", true),
            (0, Stderr, 1, " 20 %", true),
            (0, Stderr, 1, "", false),
        ];
        assert_eq!(shown(&bar), "0|10 % 20 %\n");
    }

    #[test]
    fn what_comes_between_has_lines_of_its_own() {
        let other = (1, Stdout, 1, "other", false);
        let begun = (0, Stdout, 1, "name? ", true);
        assert_eq!(
            shown(&[begun, other, (0, Stdout, 1, "me", false)]),
            "0|name? \n1|other\n0|me\n"
        );
        // Of its end alone there is nothing to show, and the next line is one of its own.
        let ended = [begun, other, (0, Stdout, 1, "", false), (0, Stdout, 1, "", false)];
        assert_eq!(shown(&ended), "0|name? \n1|other\n0|\n");
        // The other stream, and another run.
        assert_eq!(shown(&[begun, (0, Stderr, 1, "e", false)]), "0|name? \n0|e\n");
        assert_eq!(shown(&[begun, (0, Stdout, 2, "", false)]), "0|name? \n0|\n");
    }
}
