//! Options as Docker and rkt read them, which is how Go's pflag does: `--long`, `--long=value`, `--long value`, `-s value`, `-svalue`,
//! switches joined in one word (`-it`) or with a value (`--rm=false`), and, from Docker's first years, `-long`. A reader of our own
//! knows each option's line, and leaves what stands behind the image alone, whatever it looks like.

use ferrite_schema::document::{Problem, meant};

use super::ini::problem;
use super::words::Word;

/// An option that is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// Without dashes.
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    /// A value follows it; otherwise it is a switch.
    pub(crate) takes_value: bool,
    pub(crate) fate: Fate,
}

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is looked at.
    Carried,
    /// Ferrite has nothing for it: what to do.
    Lost(&'static str),
    /// What it is for is done without it: why.
    NotNeeded(&'static str),
}

/// A switch.
pub(crate) const fn switch(long: &'static str, fate: Fate) -> Flag {
    Flag { long, short: None, takes_value: false, fate }
}

/// An option with a value.
pub(crate) const fn value(long: &'static str, fate: Fate) -> Flag {
    Flag { long, short: None, takes_value: true, fate }
}

impl Flag {
    /// With a letter, too.
    pub(crate) const fn short(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }
}

/// An option that was given.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) flag: Flag,
    /// `true` or what was written behind `=` where it is a switch.
    pub(crate) value: String,
    pub(crate) line: usize,
}

impl Given {
    /// It is a switch, and on; as Go has it, anything but these words would have been refused.
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self.value.as_str(), "0" | "f" | "F" | "false" | "False" | "FALSE")
    }

    /// As somebody would write it.
    pub(crate) fn shown(&self) -> String {
        match self.flag.takes_value {
            true => format!("--{} {}", self.flag.long, self.value),
            false => format!("--{}", self.flag.long),
        }
    }
}

/// A command's words, understood.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) given: Vec<Given>,
    /// Options that are not known, whole words, and where.
    pub(crate) unknown: Vec<Word>,
    /// What is behind the options.
    pub(crate) rest: Vec<Word>,
}

/// Reads the options of `command`, up to the first word that is none; with `mixed`, up to `--`, all other words being the rest.
///
/// # Errors
/// A value is missing, or an option is unknown and it cannot be told where it ends.
pub(crate) fn parse(
    command: &str,
    flags: &[Flag],
    words: &[Word],
    mixed: bool,
) -> Result<Parsed, Problem> {
    let mut reader = Reader { command, flags, words: words.iter(), parsed: Parsed::default() };
    while let Some(word) = reader.words.next() {
        let text = word.text.as_str();
        if text == "--" {
            if mixed {
                reader.parsed.rest.push(word.clone());
            }
            break;
        }
        if !text.starts_with('-') || text == "-" {
            reader.parsed.rest.push(word.clone());
            if mixed {
                continue;
            }
            break;
        }
        reader.option(word)?;
    }
    reader.parsed.rest.extend(reader.words.cloned());
    Ok(reader.parsed)
}

struct Reader<'a> {
    command: &'a str,
    flags: &'a [Flag],
    words: std::slice::Iter<'a, Word>,
    parsed: Parsed,
}

impl Reader<'_> {
    fn option(&mut self, word: &Word) -> Result<(), Problem> {
        let double = word.text.strip_prefix("--");
        let bare = double.or_else(|| word.text.strip_prefix('-')).unwrap_or_default();
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (bare, None),
        };
        let long = self.flags.iter().find(|flag| flag.long == name).copied();
        // `-rm` is `--rm`, as Docker had it at first; a single letter is short.
        if let Some(flag) = long.filter(|_| double.is_some() || name.chars().nth(1).is_some()) {
            return self.give(flag, value, word);
        }
        if double.is_none() {
            return self.letters(bare, word);
        }
        if value.is_some() {
            self.parsed.unknown.push(word.clone());
            return Ok(());
        }
        Err(self.unknown(word, name))
    }

    fn letters(&mut self, bare: &str, word: &Word) -> Result<(), Problem> {
        let mut rest = bare;
        while let Some(letter) = rest.chars().next() {
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
            let known = self.flags.iter().find(|flag| flag.short == Some(letter)).copied();
            let Some(flag) = known else { return Err(self.unknown(word, &letter.to_string())) };
            let equals = rest.strip_prefix('=');
            if flag.takes_value || equals.is_some() {
                let value = equals.unwrap_or(rest);
                let value = (equals.is_some() || !rest.is_empty()).then(|| value.to_owned());
                return self.give(flag, value, word);
            }
            self.give(flag, None, word)?;
        }
        Ok(())
    }

    fn give(&mut self, flag: Flag, value: Option<String>, word: &Word) -> Result<(), Problem> {
        let value = match (value, flag.takes_value) {
            (Some(value), _) => value,
            (None, false) => "true".to_owned(),
            (None, true) => {
                let next = self.words.next().ok_or_else(|| {
                    let why = format!(
                        "`{}` of `{}` has no value behind it: give it one",
                        word.text, self.command
                    );
                    problem(word.line, why)
                })?;
                next.text.clone()
            }
        };
        self.parsed.given.push(Given { flag, value, line: word.line });
        Ok(())
    }

    fn unknown(&self, word: &Word, name: &str) -> Problem {
        let meant = meant(name, self.flags.iter().map(|flag| flag.long))
            .filter(|_| name.len() > 1)
            .map(|known| format!(" (`--{known}` is)"))
            .unwrap_or_default();
        let why = format!(
            "`{}` is no option of `{}` that is known here{meant}, so that it is not clear whether the next word belongs to it: take it \
             out, or write it as `--OPTION=VALUE`, which is passed over",
            word.text, self.command
        );
        problem(word.line, why)
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::split_text;
    use super::*;

    const FLAGS: [Flag; 5] = [
        switch("rm", Fate::Carried),
        switch("interactive", Fate::Carried).short('i'),
        switch("tty", Fate::Carried).short('t'),
        value("publish", Fate::Carried).short('p'),
        value("name", Fate::Carried),
    ];

    fn parsed(text: &str, mixed: bool) -> Result<(Vec<String>, Vec<String>), Problem> {
        let words = split_text(text, |_| 1).unwrap();
        let parsed = parse("x run", &FLAGS, &words, mixed)?;
        let given = parsed.given.iter().map(|one| format!("{}={}", one.flag.long, one.value));
        Ok((given.collect(), parsed.rest.iter().map(|word| word.text.clone()).collect()))
    }

    #[test]
    fn every_way_to_write_an_option() {
        for (text, given, rest) in [
            ("--rm image", vec!["rm=true"], vec!["image"]),
            ("-rm -name=a image -p x", vec!["rm=true", "name=a"], vec!["image", "-p", "x"]),
            ("-name a -p 80:80 image", vec!["name=a", "publish=80:80"], vec!["image"]),
            (
                "-it -p80 -p=81 i",
                vec!["interactive=true", "tty=true", "publish=80", "publish=81"],
                vec!["i"],
            ),
            ("-itp 80 i", vec!["interactive=true", "tty=true", "publish=80"], vec!["i"]),
            ("--rm=false --name= i", vec!["rm=false", "name="], vec!["i"]),
            ("-t=false i --rm", vec!["tty=false"], vec!["i", "--rm"]),
            ("--name -x -- i", vec!["name=-x"], vec!["i"]),
            ("", vec![], vec![]),
        ] {
            let (found, words) = parsed(text, false).unwrap();
            assert_eq!(
                (found, words),
                (
                    given.iter().map(|g| (*g).to_owned()).collect(),
                    rest.iter().map(|r| (*r).to_owned()).collect()
                ),
                "{text}"
            );
        }
        let (given, rest) = parsed("a --rm b --name c -- -p", true).unwrap();
        assert_eq!((given.len(), rest), (2, ["a", "b", "--", "-p"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn what_is_unknown_is_named() {
        for (text, words) in [
            ("--nmae x i", "`--nmae` is no option of `x run` that is known here (`--name` is)"),
            ("-q i", "`-q` is no option"),
            ("--name", "has no value behind it"),
            ("-p", "has no value behind it"),
        ] {
            let problem = parsed(text, false).unwrap_err();
            assert!(problem.message.contains(words), "{problem}");
        }
        let words = split_text("--new=3 i", |_| 7).unwrap();
        let parsed = parse("x run", &FLAGS, &words, false).unwrap();
        assert_eq!((parsed.unknown[0].text.as_str(), parsed.unknown[0].line), ("--new=3", 7));
        assert_eq!(parsed.rest.len(), 1);
    }
}
