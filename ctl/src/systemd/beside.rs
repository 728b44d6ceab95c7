//! Commands beside the container: what was run on the machine before it, after it and to stop it.

use super::commands::{Command, Purpose};
use super::docker_flags::STOP;
use super::draft::Draft;
use super::flags;
use super::words::Word;

/// The longest grace that a unit's document may say, in seconds.
const GRACE_MAX_S: u32 = 86_400;
/// Verbs of Docker that make way for a container, or see to it.
const MAKES_WAY: [&str; 6] = ["kill", "rm", "stop", "rmi", "ps", "wait"];

/// Says what becomes of each, by the key that it stands behind.
pub(crate) fn take(draft: &mut Draft<'_>, commands: &[(&str, &Command)]) {
    for (key, command) in commands {
        one(draft, key, command);
    }
}

fn one(draft: &mut Draft<'_>, key: &str, command: &Command) {
    let what = format!("{key}={}", command.text());
    let line = command.line;
    let stops = key == "ExecStop";
    let not_needed = match command.purpose() {
        Ok(Purpose::Docker(verb, words)) if stops && matches!(verb.as_str(), "stop" | "kill") => {
            stop(draft, &words, line);
            Ok("the node stops the container: `stop_signal`, `stop_grace_s`")
        }
        Ok(Purpose::Docker(verb, words)) => docker(key, &verb, &words),
        Ok(Purpose::Rkt(verb, _)) => match verb.as_str() {
            "rm" | "stop" | "gc" | "image" => {
                Ok("a unit has one container, and the node removes it when it has ended")
            }
            "fetch" | "prepare" | "trust" => {
                Ok("an image is fetched when it is not there; `[[signatures]]` say whose")
            }
            _ => Err("rkt is not there"),
        },
        Ok(Purpose::Announce) => {
            Ok("services announce themselves: other units find this one by its name")
        }
        Ok(Purpose::Program(program)) => program_of(&program, &command.text()),
        Ok(Purpose::Shell) | Err(_) => Err(
            "a shell's script is not read, and nothing is run on the machine itself: `pre_start` and `post_stop` run commands in a container like this one",
        ),
    };
    match not_needed {
        Ok(why) => draft.findings.not_needed(line, what, why),
        Err(why) => draft.findings.lost(line, what, why),
    }
}

/// Why a command of Docker's client is not needed, or what to do in its place.
fn docker(key: &str, verb: &str, words: &[Word]) -> Result<&'static str, &'static str> {
    if key == "ExecReload" {
        return Err(
            "there is no reload: `ferrite unit restart`, or `ferrite unit exec` with what the program has for it",
        );
    }
    match verb {
        verb if MAKES_WAY.contains(&verb) => {
            Ok("a unit has one container, and the one before has ended")
        }
        "pull" => Ok("an image is fetched when it is not there; `ferrite pull` fetches it anew"),
        "create" | "inspect" | "logs" | "history" | "images" => {
            Ok("the node makes the container, and says how it is")
        }
        "network" => Ok("all units are in one network and reach one another by name"),
        "volume" => Ok("a named volume is made when it is first used"),
        "login" => {
            Err("passwords for registries stand in the nodes' configuration: see docs/images.md")
        }
        "build" | "load" | "import" | "tag" => {
            Err("bring the image to a registry, or to the nodes with `ferrite import`")
        }
        "run" if words.iter().any(|word| word.text.contains("/etcdctl")) => {
            Ok("services announce themselves: other units find this one by its name")
        }
        "run" => Err(
            "a command in a container like this one goes into `pre_start` or `post_stop`, in another one into a unit of its own with `oneshot`",
        ),
        "exec" => Err(
            "`ferrite unit exec` does it when a person asks; `pre_start` and `post_stop` run commands before and after",
        ),
        _ => Err("there is no Docker"),
    }
}

fn program_of(program: &str, text: &str) -> Result<&'static str, &'static str> {
    let has = |verbs: &[&str]| verbs.iter().any(|verb| text.contains(verb));
    match program {
        "etcdctl" | "curl" if has(&[" rm ", " rmdir ", " del ", "DELETE"]) => {
            Ok("a service is withdrawn as soon as it is not ready any more")
        }
        "mkdir" | "chown" | "chmod" | "touch" => {
            Err("a volume with a `name` is made by itself, and belongs to the image's user")
        }
        "systemctl" | "fleetctl" => {
            Err("say with `requires` and `after` which other units it needs")
        }
        "sleep" | "true" => {
            Err("nothing is waited for by the clock: `after` waits until others are ready")
        }
        _ => Err(
            "nothing is run on the machine itself: `pre_start` and `post_stop` run commands in a container like this one",
        ),
    }
}

/// Takes grace and signal from how it was stopped.
fn stop(draft: &mut Draft<'_>, words: &[Word], line: usize) {
    let Ok(parsed) = flags::parse("docker stop", &STOP, words, true) else { return };
    for given in &parsed.given {
        match given.flag.long {
            "signal" => {
                draft.unit.stop_signal = Some(given.value.clone());
                draft.mark("stop_signal", line);
            }
            "ignore" => {}
            _ => match given.value.parse::<u32>() {
                Ok(seconds) => {
                    draft.unit.stop_grace_s = seconds.min(GRACE_MAX_S);
                    draft.mark("stop_grace_s", line);
                }
                Err(_) => draft.odd(given, "this is no number of seconds"),
            },
        }
    }
}
