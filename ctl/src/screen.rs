//! Terminals obey what is written to them. What a node, an image or a container says is shown, and never obeyed.
//!
//! Control characters move the cursor, rewrite what stands there, answer as if somebody typed, fill the clipboard (OSC 52);
//! marks of writing direction let a text read as another one. Each is shown as a character of its own instead.

use std::borrow::Cow;
use std::io::{self, Write};

/// Control pictures stand in the order of the control characters.
const PICTURES: u32 = 0x2400;
/// Picture of DEL.
const DELETE: char = '\u{2421}';

/// `text` on lines and with tabs as they are, everything else that steers a terminal made visible.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    shown(text, &['\n', '\t'])
}

/// `text` as part of a line: a line end is made visible too.
#[must_use]
pub fn visible_in_line(text: &str) -> Cow<'_, str> {
    shown(text, &[])
}

fn shown<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let steers = |character: char| is_control(character) && !kept.contains(&character);
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) {
            picture(character, &mut out);
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// C0, C1, DEL; line and paragraph separators; marks, embeddings, overrides and isolates of writing direction; invisible
/// tags.
const fn is_control(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

fn picture(character: char, out: &mut String) {
    let code = u32::from(character);
    match char::from_u32(PICTURES + code) {
        Some(picture) if code < 0x20 => out.push(picture),
        _ if code == 0x7f => out.push(DELETE),
        _ => out.push_str(&format!("<U+{code:04X}>")),
    }
}

/// A terminal that is written to, and not steered.
#[derive(Debug)]
pub struct Screen<W> {
    inner: W,
    /// The begin of a character whose end was not written yet.
    begun: Vec<u8>,
}

impl<W: Write> Screen<W> {
    /// Writes to `inner`.
    pub const fn new(inner: W) -> Self {
        Self { inner, begun: Vec::new() }
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        let taken = std::mem::take(&mut self.begun);
        let mut text = String::new();
        for chunk in taken.utf8_chunks() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            let is_last = taken.ends_with(invalid) && !invalid.is_empty();
            // Cut within a character, not wrong: `from_utf8` tells the two apart.
            let is_cut =
                std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if is_last && is_cut && self.begun.is_empty() && ends_here(&taken, invalid) {
                self.begun = invalid.to_vec();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.inner.write_all(visible(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Whether `part`, a slice of `whole`, is its very end.
fn ends_here(whole: &[u8], part: &[u8]) -> bool {
    std::ptr::eq(whole.as_ptr_range().end, part.as_ptr_range().end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(visible(text), expected, "{text:?}");
        let mut screen = Screen::new(Vec::new());
        // One byte at a time cuts every character.
        for byte in text.as_bytes() {
            screen.write_all(&[*byte]).unwrap();
        }
        assert_eq!(String::from_utf8(screen.inner).unwrap(), expected, "{text:?}");
    }

    #[test]
    fn what_steers_a_terminal_is_shown() {
        check("plain \u{e4} \u{4f60} \u{1f980}\n\tnext", "plain \u{e4} \u{4f60} \u{1f980}\n\tnext");
        check("\u{1b}[2J", "\u{241b}[2J");
        check("10%\r20%", "10%\u{240d}20%");
        check("\u{1b}]52;c;ZXZpbA==\u{7}", "\u{241b}]52;c;ZXZpbA==\u{2407}");
        check("a\u{8}b\u{7f}", "a\u{2408}b\u{2421}");
        // C1: the same in one character.
        check("\u{9b}31m\u{9d}0;title\u{9c}", "<U+009B>31m<U+009D>0;title<U+009C>");
        check("user\u{202e}gpj.exe\u{2066}", "user<U+202E>gpj.exe<U+2066>");
        check("a\u{2028}b", "a<U+2028>b");
        check("hi\u{e0041}", "hi<U+E0041>");
    }

    #[test]
    fn a_line_ends_where_we_end_it() {
        assert_eq!(visible_in_line("a\nerror: b\tc"), "a\u{240a}error: b\u{2409}c");
    }

    #[test]
    fn bytes_that_are_no_text_do_not_pass() {
        let mut screen = Screen::new(Vec::new());
        // A terminal with eight bits takes 0x9b for CSI.
        screen.write_all(b"a\x9b2Jb\xff").unwrap();
        screen.write_all("\u{e4}".as_bytes()).unwrap();
        let text = String::from_utf8(screen.inner).unwrap();
        assert_eq!(text, "a\u{fffd}2Jb\u{fffd}\u{e4}");
    }
}
