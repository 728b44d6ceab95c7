//! The command line, word by word: options may stand before or after a container's name.

use std::collections::VecDeque;

/// What `--help` says.
pub(super) const HELP: &str = "\
usage: ferrite-oci [--debug] [--root DIR] [--log FILE] [--log-format json|text] COMMAND

  create [-b BUNDLE] [--console-socket SOCKET] [--pid-file FILE] [--preserve-fds N] [--no-pivot] ID
  run    the same, and [-d | --detach]
  start ID | state ID | pause ID | resume ID
  kill [--all] ID [SIGNAL]
  delete [--force] ID
  exec [-e K=V] [--cwd DIR] [--user UID[:GID]] [-t] [-d] [--pid-file FILE] [--console-socket SOCKET]
       [--cap CAP] [--process FILE] [--cgroup PATH] [--ignore-paused] ID COMMAND...
  update [-r FILE | --memory BYTES --memory-swap BYTES --memory-reservation BYTES --pids-limit N
         --cpu-share N --cpu-quota US --cpu-period US --cpu-burst US --cpu-idle N --cpuset-cpus SET
         --cpuset-mems SET --blkio-weight N] ID
  list [-q] [--format json|table] | ps [--format json|table] ID | spec [-b BUNDLE] | features";

/// The command line is wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Usage {
    #[error("unknown option {option}; see --help")]
    UnknownOption { option: String },
    #[error("unknown command {verb}; see --help")]
    UnknownCommand { verb: String },
    #[error("option {option} lacks its value")]
    NoValue { option: String },
    #[error("{what} is missing; see --help")]
    Missing { what: &'static str },
    #[error("{word:?} is not a {what}")]
    Invalid { what: &'static str, word: String },
}

/// Words that were not looked at yet.
#[derive(Debug)]
pub(super) struct Arguments {
    words: VecDeque<String>,
}

impl Arguments {
    pub(super) fn new(words: Vec<String>) -> Self {
        Self { words: words.into() }
    }

    /// The next word where it is an option; `--name=value` becomes two words.
    pub(super) fn option(&mut self) -> Result<Option<String>, Usage> {
        let is_option =
            self.words.front().is_some_and(|word| word.starts_with('-') && word.len() > 1);
        if !is_option {
            return Ok(None);
        }
        let Some(word) = self.words.pop_front() else { return Ok(None) };
        if word == "--" {
            return Ok(None);
        }
        if let (true, Some((name, value))) = (word.starts_with("--"), word.split_once('=')) {
            self.words.push_front(value.to_owned());
            return Ok(Some(name.to_owned()));
        }
        Ok(Some(word))
    }

    /// The value of an option that was just taken.
    pub(super) fn value(&mut self, option: &str) -> Result<String, Usage> {
        self.words.pop_front().ok_or_else(|| Usage::NoValue { option: option.to_owned() })
    }

    /// The value as a number.
    pub(super) fn number<T: std::str::FromStr>(&mut self, option: &str) -> Result<T, Usage> {
        let word = self.value(option)?;
        word.parse().map_err(|_bad| Usage::Invalid { what: "number", word })
    }

    /// The next word.
    pub(super) fn word(&mut self, what: &'static str) -> Result<String, Usage> {
        self.words.pop_front().ok_or(Usage::Missing { what })
    }

    /// The next word, where there is one.
    pub(super) fn optional_word(&mut self) -> Option<String> {
        self.words.pop_front()
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> Vec<String> {
        let mut rest: Vec<String> = std::mem::take(&mut self.words).into();
        if rest.first().is_some_and(|word| word == "--") {
            rest.remove(0);
        }
        rest
    }

    /// Makes a word the command.
    pub(super) fn push_verb(&mut self, verb: &str) {
        self.words.clear();
        self.words.push_back(verb.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_words() {
        let words = ["--root=/x", "-b", "/b", "id", "sh", "-c", "--", "x"];
        let mut arguments = Arguments::new(words.map(str::to_owned).to_vec());
        assert_eq!(arguments.option().unwrap().as_deref(), Some("--root"));
        assert_eq!(arguments.value("--root").unwrap(), "/x");
        assert_eq!(arguments.option().unwrap().as_deref(), Some("-b"));
        assert_eq!(arguments.value("-b").unwrap(), "/b");
        assert_eq!(arguments.option().unwrap(), None);
        assert_eq!(arguments.word("ID").unwrap(), "id");
        assert_eq!(arguments.rest(), ["sh", "-c", "--", "x"]);
        assert!(arguments.word("more").is_err());
    }
}
