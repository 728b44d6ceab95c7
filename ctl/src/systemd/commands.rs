//! Commands of `Exec…=` lines: their prefixes, and what they are for.

use ferrite_schema::document::Problem;

use super::docker_flags::GLOBAL;
use super::environment::Environment;
use super::flags;
use super::ini::{Entry, problem};
use super::names::{Name, Open};
use super::words::{Word, split, split_text};

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its words, the program first.
    pub(crate) words: Vec<Word>,
    /// It may fail (`-`).
    pub(crate) may_fail: bool,
    /// Line where it begins.
    pub(crate) line: usize,
}

/// What a command is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Docker, or something with its options: the verb, and the words behind it.
    Docker(String, Vec<Word>),
    /// rkt, likewise.
    Rkt(String, Vec<Word>),
    /// It tells others where something is.
    Announce,
    /// A shell with more than one command.
    Shell,
    /// Another program.
    Program(String),
}

/// Characters that make a shell's line more than one command's words.
const OF_SHELLS: &[char] =
    &['|', '&', ';', '<', '>', '(', ')', '$', '`', '*', '?', '[', '#', '~', '!', '{', '}', '\n'];
/// Programs that take Docker's options.
const DOCKERS: [&str; 3] = ["docker", "podman", "systemd-docker"];

impl Command {
    /// The commands of an entry; several are separated by `;`.
    ///
    /// # Errors
    /// A quote is never closed, or a program is missing.
    pub(crate) fn read(
        entry: &Entry,
        name: &Name,
        environment: &Environment,
        open: &mut Open,
    ) -> Result<Vec<Self>, Problem> {
        let words = split(&entry.value)?;
        let separates = |word: &Word| word.text == ";" && !word.quoted;
        let mut commands = Vec::new();
        for words in words.split(separates).filter(|words| !words.is_empty()) {
            let mut words = words.to_vec();
            let line = words.first().map_or(entry.line, |word| word.line);
            let (may_fail, own_argument_0, expands) = prefixes(&mut words);
            if words.first().is_none_or(|word| word.text.is_empty()) {
                let why = format!("`{}` names no program", entry.key);
                return Err(problem(line, why));
            }
            if own_argument_0 && words.len() > 1 {
                words.remove(1);
            }
            for word in &mut words {
                word.text = name.expand(&word.text, open);
            }
            let words = if expands { environment.expand(&words, open) } else { words };
            commands.push(Self { words, may_fail, line });
        }
        Ok(commands)
    }

    /// All its words in one line.
    pub(crate) fn text(&self) -> String {
        let words: Vec<&str> = self.words.iter().map(|word| word.text.as_str()).collect();
        words.join(" ")
    }

    /// What it is for.
    ///
    /// # Errors
    /// Docker is asked with options that are not understood.
    pub(crate) fn purpose(&self) -> Result<Purpose, Problem> {
        if announces(&self.text()) {
            return Ok(Purpose::Announce);
        }
        let Some((program, rest)) = self.words.split_first() else {
            return Ok(Purpose::Program(String::new()));
        };
        let base = base(&program.text);
        if base == "env" && rest.first().is_some_and(|word| !word.text.contains('=')) {
            return Self { words: rest.to_vec(), ..self.clone() }.purpose();
        }
        if let Some(script) = script(base, rest) {
            return inner(script)
                .map_or(Ok(Purpose::Shell), |words| Self { words, ..self.clone() }.purpose());
        }
        if DOCKERS.contains(&base) {
            // `systemd-docker` has options of its own in the place of Docker's.
            let own = match base {
                "systemd-docker" => rest.iter().position(|word| word.text == "run").unwrap_or(0),
                _ => 0,
            };
            let behind =
                flags::parse("docker", &GLOBAL, rest.get(own..).unwrap_or_default(), false)?;
            let mut words = behind.rest.into_iter();
            let mut verb = words.next().map(|word| word.text).unwrap_or_default();
            if verb == "container" || verb == "image" {
                verb = words.next().map(|word| word.text).unwrap_or_default();
            }
            return Ok(Purpose::Docker(verb, words.collect()));
        }
        if base == "rkt" {
            let verb = rest.iter().position(|word| !word.text.starts_with('-'));
            let verb = verb.and_then(|at| rest.split_at_checked(at));
            let Some((options, [verb, behind @ ..])) = verb else {
                return Ok(Purpose::Rkt(String::new(), Vec::new()));
            };
            // rkt's options may stand before its verb, too.
            let words = options.iter().chain(behind).cloned().collect();
            return Ok(Purpose::Rkt(verb.text.clone(), words));
        }
        Ok(Purpose::Program(base.to_owned()))
    }
}

/// Takes the prefixes off the program: it may fail, its second word is what the program is told that it is called, and variables
/// are put in place.
fn prefixes(words: &mut [Word]) -> (bool, bool, bool) {
    let (mut may_fail, mut own_argument_0, mut expands) = (false, false, true);
    if let Some(program) = words.first_mut() {
        let bare = program.text.trim_start_matches(['-', '@', '+', '!', ':', '|']);
        for prefix in program.text.chars().take(program.text.len() - bare.len()) {
            match prefix {
                '-' => may_fail = true,
                '@' => own_argument_0 = true,
                ':' => expands = false,
                _ => {}
            }
        }
        program.text = bare.to_owned();
    }
    (may_fail, own_argument_0, expands)
}

fn base(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// The script that a shell is given in its words.
fn script<'a>(base: &str, rest: &'a [Word]) -> Option<&'a Word> {
    if !matches!(base, "sh" | "bash" | "dash" | "ash") {
        return None;
    }
    let option = rest.iter().position(|word| {
        word.text.starts_with('-') && !word.text.starts_with("--") && word.text.ends_with('c')
    })?;
    rest.get(option + 1)
}

/// The words of a script that is one command without anything of a shell in it.
fn inner(script: &Word) -> Option<Vec<Word>> {
    let text = script.text.trim();
    let text = text.strip_prefix("exec ").unwrap_or(text);
    if text.contains(OF_SHELLS) {
        return None;
    }
    let words = split_text(text, |_| script.line).ok()?;
    (!words.is_empty()).then_some(words)
}

/// It writes where something is into etcd, as fleet's users had it done beside their services.
fn announces(text: &str) -> bool {
    let of_etcdctl = [" set ", " mk ", " mkdir ", " update ", " setdir ", " put "];
    let etcdctl = text.contains("etcdctl") && of_etcdctl.iter().any(|verb| text.contains(verb));
    let by_http =
        text.contains("/v2/keys/") && ["PUT", "POST"].iter().any(|how| text.contains(how));
    etcdctl || by_http || text.contains("/registrator")
}

#[cfg(test)]
mod tests {
    use super::super::ini;
    use super::*;

    fn purposes(line: &str) -> Vec<(Purpose, bool)> {
        let name = Name::of("web").unwrap();
        let entries = ini::read(&format!("[Service]\nExecStart={line}\n")).unwrap();
        let all = Command::read(&entries[0], &name, &Environment::default(), &mut Open::new());
        all.unwrap().iter().map(|one| (one.purpose().unwrap(), one.may_fail)).collect()
    }

    fn docker(line: &str, verb: &str, words: &[&str]) {
        let found = purposes(line);
        let Some((Purpose::Docker(found_verb, found_words), _)) = found.first() else {
            panic!("{line}: {found:?}");
        };
        let found_words: Vec<&str> = found_words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!((found_verb.as_str(), found_words.as_slice()), (verb, words), "{line}");
    }

    #[test]
    fn docker_however_it_is_called() {
        docker("/usr/bin/docker run a", "run", &["a"]);
        docker("-/usr/bin/docker kill web", "kill", &["web"]);
        docker("@/usr/bin/docker docker-web run a", "run", &["a"]);
        docker("/usr/bin/docker -H unix:///x --debug run a", "run", &["a"]);
        docker("/usr/bin/docker container run a", "run", &["a"]);
        docker("/usr/bin/env docker run a", "run", &["a"]);
        docker("/bin/sh -c 'docker run a'", "run", &["a"]);
        docker(
            "/bin/bash -lc \"exec /usr/bin/docker run -e 'X=a b' a\"",
            "run",
            &["-e", "X=a b", "a"],
        );
        docker("/opt/bin/systemd-docker --env run a", "run", &["a"]);
        assert!(purposes("-/usr/bin/docker rm x")[0].1);
    }

    #[test]
    fn rkt_shells_announcements_and_others() {
        for (line, expected) in [
            ("/usr/bin/sh -c 'a | b'", Purpose::Shell),
            ("/usr/bin/sh -c 'docker run a || true'", Purpose::Shell),
            (
                "/bin/sh -c 'while true; do etcdctl set /services/web x --ttl 60; sleep 45; done'",
                Purpose::Announce,
            ),
            ("/usr/bin/etcdctl mk /a b", Purpose::Announce),
            (
                "/usr/bin/curl -X PUT http://172.17.42.1:4001/v2/keys/web -d value=x",
                Purpose::Announce,
            ),
            ("/usr/bin/etcdctl get /a", Purpose::Program("etcdctl".into())),
            ("/usr/bin/node app.js", Purpose::Program("node".into())),
        ] {
            assert_eq!(purposes(line)[0].0, expected, "{line}");
        }
        let found = purposes("/usr/bin/rkt --insecure-options=image run docker://a");
        let Purpose::Rkt(verb, words) = &found[0].0 else { panic!("{found:?}") };
        assert_eq!((verb.as_str(), words.len()), ("run", 2));
        assert_eq!(purposes("/bin/a ; /bin/b").len(), 2);
    }
}
