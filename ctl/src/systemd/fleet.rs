//! What `[X-Fleet]` says of where a unit may run.
//!
//! | fleet | Ferrite |
//! |---|---|
//! | `MachineMetadata` | `placement.metadata`: of one key any of its values, of several keys all |
//! | `MachineID`, `MachineOf` | `placement.machine`, `placement.machine_of` |
//! | `Conflicts`, `Replaces` | `placement.conflicts`, `placement.replaces`, patterns without `.service` |
//! | `Global` | `placement.everywhere` |

use ferrite_schema::cluster::MachineId;
use ferrite_schema::document::meant;
use ferrite_schema::unit::Placement;

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

/// What else says where it may run. The keys are put in by their names: a version whose units do not have one of them says so.
fn place(draft: &mut Draft<'_>, entry: &Entry, word: &Word, (key, text): (&str, &str)) {
    let what = shown(entry, &word.text);
    if key == "Global" && matches!(text, "false" | "no" | "0" | "off") {
        return;
    }
    let (name, suffix) = match text.rsplit_once('.') {
        Some((name, suffix @ ("service" | "timer" | "socket" | "path" | "target"))) => {
            (name, suffix)
        }
        _ => (text, "service"),
    };
    if suffix != "service" {
        return draft.findings.lost(word.line, what, "Ferrite has no units of this kind");
    }
    let one = || toml::Value::String(name.to_owned());
    let (own, value, otherwise) = match key {
        "MachineID" if text.parse::<MachineId>().is_err() => {
            return draft.findings.lost(word.line, what, "a machine's ID is 32 hexadecimal digits");
        }
        "MachineID" => ("machine", one(), LABEL),
        "MachineOf" => ("machine_of", toml::Value::Array(vec![one()]), BESIDE),
        "Conflicts" => ("conflicts", toml::Value::Array(vec![one()]), APART),
        "Global" => ("everywhere", toml::Value::Boolean(true), MANY),
        _ => ("replaces", toml::Value::Array(vec![one()]), INSTEAD),
    };
    match with(&draft.unit.placement, own, value) {
        Some(placement) => {
            draft.unit.placement = placement;
            draft.mark(format!("placement.{own}"), word.line);
            if key == "MachineID" {
                let why = "machines have other IDs here: `ferrite machine list -o json` shows them";
                draft.findings.changed(word.line, what, why);
            }
        }
        None => draft.findings.lost(word.line, what, otherwise),
    }
}

const LABEL: &str = "give the machine a label and ask for it: `ferrite machine metadata NAME place=here`, and `placement.metadata = { place = [\"here\"] }`";
const BESIDE: &str = "units reach one another by name wherever they are; where files are shared, give their machine a label and ask for it in both";
const APART: &str = "two units that publish the same port are never on one machine; other conflicts are not known here";
const MANY: &str = "say how many with `replicas`, which are spread over the machines";
const INSTEAD: &str = "stop the other unit by itself";

/// The placement with one more value; nothing where it has no such key.
fn with(placement: &Placement, key: &str, value: toml::Value) -> Option<Placement> {
    let mut table = toml::Table::try_from(placement).ok()?;
    match (table.get_mut(key), value) {
        (Some(toml::Value::Array(list)), toml::Value::Array(more)) => {
            let new: Vec<_> = more.into_iter().filter(|one| !list.contains(one)).collect();
            list.extend(new);
        }
        (_, value) => drop(table.insert(key.to_owned(), value)),
    }
    table.try_into().ok()
}

#[cfg(test)]
mod tests {
    use ferrite_schema::unit::OnLoss;

    use super::*;

    #[test]
    fn a_key_that_placements_have_not_is_no_placement() {
        let known = with(&Placement::default(), "on_loss", toml::Value::String("move".to_owned()));
        assert_eq!(known.unwrap().on_loss, Some(OnLoss::Move));
        assert_eq!(with(&Placement::default(), "nowhere", toml::Value::Boolean(true)), None);
    }
}
