//! What `[X-Fleet]` says of where a unit may run.
//!
//! | fleet | Ferrite |
//! |---|---|
//! | `MachineMetadata` | `placement.metadata`: of one key any of its values, of several keys all |
//! | `MachineID`, `MachineOf`, `Conflicts`, `Global`, `Replaces` | what [`place`] has for them |

use ferrite_schema::document::meant;

use super::draft::{Draft, unknown};
use super::ini::Entry;
use super::words::{Word, split};

/// All that fleet knew, the older words last.
const KNOWN: [&str; 11] = [
    "MachineID",
    "MachineOf",
    "MachineMetadata",
    "Conflicts",
    "Global",
    "Replaces",
    "X-ConditionMachineID",
    "X-ConditionMachineBootID",
    "X-ConditionMachineOf",
    "X-ConditionMachineMetadata",
    "X-Conflicts",
];

/// Takes in one assignment.
pub(crate) fn take(draft: &mut Draft<'_>, entry: &Entry) {
    let Ok(words) = split(&entry.value) else {
        let why = "a quote is opened and never closed";
        return draft.findings.lost(entry.line, shown(entry, &entry.value.text), why);
    };
    let key = entry.key.strip_prefix("X-Condition").unwrap_or(&entry.key);
    let key = key.strip_prefix("X-").unwrap_or(key);
    for word in &words {
        let text = draft.name.expand(&word.text, &mut draft.open);
        if let Some(open) = draft.open_in(&text) {
            let why = format!("{}; write the value itself", unknown(open));
            draft.findings.lost(word.line, shown(entry, &word.text), why);
            continue;
        }
        match key {
            "MachineMetadata" => metadata(draft, entry, word, &text),
            "MachineBootID" => {
                let why = "a machine has another boot ID after each boot: say its ID";
                draft.findings.lost(word.line, shown(entry, &word.text), why);
            }
            "MachineID" | "MachineOf" | "Conflicts" | "Global" | "Replaces" => {
                place(draft, entry, word, (key, &text));
            }
            _ => {
                let meant = meant(&entry.key, KNOWN)
                    .map(|known| format!(" (`{known}` is)"))
                    .unwrap_or_default();
                let why = format!("fleet has no such option{meant}");
                draft.findings.lost(word.line, shown(entry, &word.text), why);
            }
        }
    }
}

fn shown(entry: &Entry, text: &str) -> String {
    format!("{}={text}", entry.key)
}

fn metadata(draft: &mut Draft<'_>, entry: &Entry, word: &Word, text: &str) {
    let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        let why = "metadata is KEY=VALUE";
        return draft.findings.lost(word.line, shown(entry, &word.text), why);
    };
    let values = draft.unit.placement.metadata.entry(key.to_owned()).or_default();
    if !values.iter().any(|known| known == value) {
        values.push(value.to_owned());
    }
    draft.mark(format!("placement.metadata.{key}"), word.line);
}

/// What else says where it may run.
fn place(draft: &mut Draft<'_>, entry: &Entry, word: &Word, (key, text): (&str, &str)) {
    let off = matches!(text, "false" | "no" | "0" | "off");
    if key == "Global" && off {
        return;
    }
    let why = match key {
        "MachineID" => {
            "give the machine a label and ask for it: `ferrite machine metadata NAME place=here`, and `placement.metadata = { place = [\"here\"] }`"
        }
        "MachineOf" => {
            "units reach one another by name wherever they are; where files are shared, give their machine a label and ask for it in both"
        }
        "Conflicts" => {
            "two units that publish the same port are never on one machine; other conflicts are not known here"
        }
        "Global" => "say how many with `replicas`, which are spread over the machines",
        _ => "stop the other unit by itself",
    };
    draft.findings.lost(word.line, shown(entry, &word.text), why);
}
