//! Names of systemd's units, and what in a file stands for parts of them.

use std::collections::BTreeSet;

use ferrite_schema::unit::names::is_unit_name;

/// A unit's name, without systemd's suffix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    whole: String,
}

/// What stands in a text and is not known here: `${COREOS_PRIVATE_IPV4}`, `%H`.
pub(crate) type Open = BTreeSet<String>;

/// Specifiers that mean something of the machine, or of systemd, which nobody knows before the unit runs.
const OF_MACHINE: &str = "HmbvhuUtTSCLEsfcrRyYdDaABMowWlqgGVJj";

impl Name {
    /// The name that `text` has, with or without a suffix: `web@.service` is the template `web@`.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let whole = text.strip_suffix(".service").or_else(|| text.strip_suffix(".timer"));
        let whole = whole.unwrap_or(text).to_owned();
        is_unit_name(&whole).then_some(Self { whole })
    }

    /// It as Ferrite has it.
    pub(crate) fn as_str(&self) -> &str {
        &self.whole
    }

    /// It is a template: its instances' names come in later.
    pub(crate) fn is_template(&self) -> bool {
        self.whole.ends_with('@')
    }

    /// `text` with what its specifiers stand for. In a template they stay, as Ferrite's; what is not known is added to `open` and
    /// stays as it is.
    pub(crate) fn expand(&self, text: &str, open: &mut Open) -> String {
        let (prefix, instance) = self.whole.split_once('@').unwrap_or((&self.whole, ""));
        let mut out = String::with_capacity(text.len());
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                out.push(character);
                continue;
            }
            match (characters.next(), self.is_template()) {
                (Some('n' | 'N'), true) => out.push_str("%n"),
                (Some('p' | 'P'), true) => out.push_str("%p"),
                (Some('i' | 'I'), true) => out.push_str("%i"),
                (Some('n' | 'N'), false) => out.push_str(&self.whole),
                (Some('p' | 'P'), false) => out.push_str(prefix),
                (Some('i' | 'I'), false) => out.push_str(instance),
                (Some('%') | None, true) => out.push_str("%%"),
                (Some('%') | None, false) => out.push('%'),
                (Some(other), template) => {
                    if OF_MACHINE.contains(other) {
                        open.insert(format!("%{other}"));
                    }
                    // systemd leaves what it does not know as it is.
                    out.push_str(if template { "%%" } else { "%" });
                    out.push(other);
                }
            }
        }
        out
    }

    /// `text` with every specifier of a template put in place, to see whether what comes of it may be.
    pub(crate) fn sample(&self, text: &str) -> String {
        match self.is_template() {
            true => text
                .replace("%n", &format!("{}1", self.whole))
                .replace("%p", self.whole.trim_end_matches('@'))
                .replace("%i", "1"),
            false => text.to_owned(),
        }
    }
}

/// Another unit that a file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Other {
    /// A unit like this one.
    Unit(String),
    /// Something of the machine that Ferrite has brought up before any unit runs.
    OfMachine,
    /// Something that Ferrite has nothing for: why.
    Unknown(&'static str),
}

/// Services of CoreOS, systemd and their like that units wait for, and that are there, or not needed.
const OF_MACHINE_SERVICES: [&str; 22] = [
    "coreos-setup-environment",
    "dbus",
    "docker",
    "etcd",
    "etcd-member",
    "etcd2",
    "early-docker",
    "flannel-docker-opts",
    "flanneld",
    "fleet",
    "local-fs",
    "network-online",
    "ntpd",
    "rkt-api",
    "rkt-metadata",
    "rpcbind",
    "setup-network-environment",
    "sshd",
    "systemd-networkd",
    "systemd-networkd-wait-online",
    "systemd-resolved",
    "systemd-timesyncd",
];

/// What `text`, without open specifiers, names.
pub(crate) fn other(text: &str, own: &Name) -> Other {
    let (name, suffix) = text.rsplit_once('.').unwrap_or((text, "service"));
    match suffix {
        "target" | "mount" | "automount" | "slice" | "device" | "swap" => return Other::OfMachine,
        "socket" if OF_MACHINE_SERVICES.contains(&name) => return Other::OfMachine,
        "socket" | "path" | "timer" | "scope" | "busname" | "snapshot" => {
            return Other::Unknown("Ferrite has no units of this kind");
        }
        _ => {}
    }
    let name = text.strip_suffix(".service").unwrap_or(text);
    if OF_MACHINE_SERVICES.contains(&name) {
        return Other::OfMachine;
    }
    let sample = own.sample(name);
    if !is_unit_name(&sample) {
        return Other::Unknown(
            "a unit of this name cannot be: it has letters, digits, `-`, `_` and `.`, and one `@`",
        );
    }
    if sample.ends_with('@') {
        return Other::Unknown("it is a template: name an instance of it");
    }
    if own.is_template() && sample == format!("{}1", own.as_str()) || sample == own.as_str() {
        return Other::Unknown("it is this unit itself");
    }
    Other::Unit(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(name: &str, text: &str) -> (String, Vec<String>) {
        let mut open = Open::new();
        let text = Name::of(name).unwrap().expand(text, &mut open);
        (text, open.into_iter().collect())
    }

    #[test]
    fn names_of_files() {
        for (text, name) in [
            ("web.service", "web"),
            ("web@.service", "web@"),
            ("web@1.service", "web@1"),
            ("web", "web"),
        ] {
            assert_eq!(Name::of(text).unwrap().as_str(), name);
        }
        for text in ["", ".service", "a b.service", "a:b.service", "a@b@c.service", &"x".repeat(80)]
        {
            assert_eq!(Name::of(text), None, "{text}");
        }
    }

    #[test]
    fn specifiers_of_units_stay_in_templates_alone() {
        assert_eq!(
            expanded("web@.service", "%p-%i of %n, 5%% %"),
            ("%p-%i of %n, 5%% %%".into(), vec![])
        );
        assert_eq!(
            expanded("web@1.service", "%p-%i of %n, 5%% %"),
            ("web-1 of web@1, 5% %".into(), vec![])
        );
        assert_eq!(expanded("web.service", "%p|%i"), ("web|".into(), vec![]));
        assert_eq!(expanded("web.service", "%H %z"), ("%H %z".into(), vec!["%H".to_owned()]));
        assert_eq!(expanded("web@.service", "%H %z"), ("%%H %%z".into(), vec!["%H".to_owned()]));
    }

    #[test]
    fn other_units() {
        let own = Name::of("web@.service").unwrap();
        for (text, expected) in [
            ("db.service", Some("db")),
            ("db", Some("db")),
            ("%p-data@%i.service", Some("%p-data@%i")),
        ] {
            assert_eq!(other(text, &own), Other::Unit(expected.unwrap().to_owned()), "{text}");
        }
        for text in [
            "docker.service",
            "etcd2.service",
            "network-online.target",
            "data.mount",
            "docker.socket",
        ] {
            assert_eq!(other(text, &own), Other::OfMachine, "{text}");
        }
        for text in ["db@.service", "web@%i.service", "x.timer", "a b.service"] {
            assert!(matches!(other(text, &own), Other::Unknown(_)), "{text}");
        }
    }
}
