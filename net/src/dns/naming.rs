//! What a person should know about a unit's name in DNS: who shares it, and that there is none. `names` answers so.

use ferrite_schema::unit::{NetworkMode, Unit, template};

use super::message::LABEL_MAX_BYTES;

/// What is to be said of a unit among `others`; it may be among them.
#[must_use]
pub fn notes<'a>(unit: &Unit, others: impl Iterator<Item = &'a Unit>) -> Vec<String> {
    if !is_asked_for(unit) {
        return Vec::new();
    }
    let name = unit.name.as_str();
    if name.len() > LABEL_MAX_BYTES {
        return vec![format!(
            "it has no name in DNS: a name there has {LABEL_MAX_BYTES} letters at most, and this one {}",
            name.len()
        )];
    }
    let made = made(name);
    let mut notes = Vec::new();
    let (mut together, mut owner) = (Vec::new(), None);
    for other in others.filter(|other| other.name != name && is_asked_for(other)) {
        let other = other.name.as_str();
        if !is_label(name) && is_label(other) && other.eq_ignore_ascii_case(&made) {
            owner = Some(other);
        } else if shares(name, other) {
            together.push(other);
        }
    }
    match owner {
        Some(other) if name.contains('.') => {
            notes.push(format!("it has no name in DNS: `{made}` is unit {other}'s own"));
        }
        Some(other) => notes.push(format!(
            "its name in DNS is `{}` alone: `{made}` is unit {other}'s own",
            name.to_ascii_lowercase()
        )),
        None if name.contains('.') => {
            notes.push(format!("its name in DNS is `{made}`: a dot would make it another one"));
        }
        None => {}
    }
    if !together.is_empty() {
        let label = if is_label(name) { name.to_ascii_lowercase() } else { made };
        notes.push(format!(
            "its name in DNS, `{label}`, is that of {} too: who asks for it is given all of them",
            together.join(", ")
        ));
    }
    notes
}

/// It has an address of its own that names lead to.
fn is_asked_for(unit: &Unit) -> bool {
    unit.network == NetworkMode::Bridge && !template::is_template(&unit.name)
}

/// What is made of a unit's name where it has to be a hostname: names of units may hold `_`, `.` and `@`.
#[must_use]
pub fn hostname(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// The label of a name that nobody else has.
fn made(name: &str) -> String {
    hostname(&name.to_ascii_lowercase())
}

/// Nothing has to be made of it.
fn is_label(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Both are answered for the same label: their own, or what is made of both.
fn shares(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
        || (!is_label(name) && !is_label(other) && made(name) == made(other))
}

#[cfg(test)]
mod tests {
    use ferrite_schema::unit;

    use super::*;

    fn unit(name: &str) -> Unit {
        Unit { name: name.to_owned(), ..unit::parse("name = \"x\"\nimage = \"x\"\n").unwrap() }
    }

    fn check(name: &str, others: &[&str], expected: &[&str]) {
        let all: Vec<Unit> = others.iter().chain([&name]).map(|name| unit(name)).collect();
        let found = notes(&unit(name), all.iter());
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (note, words) in found.iter().zip(expected) {
            assert!(note.contains(words), "{note}");
        }
    }

    #[test]
    fn who_shares_a_name_is_told() {
        check("a", &["b", "ab", "a-", "A@"], &[]);
        check("a", &["A"], &["`a`, is that of A too"]);
        check("A", &["b", "a"], &["`a`, is that of a too"]);
        check("x.y", &["x_y", "z"], &["is `x-y`", "`x-y`, is that of x_y too"]);
        check("x.y", &["x-y"], &["no name in DNS: `x-y` is unit x-y's own"]);
        check("job@1", &["job-1"], &["is `job@1` alone: `job-1` is unit job-1's own"]);
        // It is asked for by its own name, which nobody else has.
        check("x-y", &["x.y", "x_y"], &[]);
    }

    #[test]
    fn a_name_that_is_none_in_dns_is_told() {
        check("x.", &[], &["is `x-`"]);
        check("x..y", &[], &["is `x--y`"]);
        check(&"l".repeat(64), &[], &["it has no name in DNS: a name there has 63 letters"]);
        check(&"l".repeat(63), &[], &[]);
    }

    #[test]
    fn without_an_address_of_its_own_there_is_no_name() {
        let mut other = unit("A");
        other.network = NetworkMode::Host;
        assert_eq!(notes(&other, [unit("a")].iter()), [""; 0]);
        assert_eq!(notes(&unit("a"), [other].iter()), [""; 0]);
    }
}
