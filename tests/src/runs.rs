//! What ran where and when, by what it said itself: an instance says its name and a word that it draws when it begins, again and
//! again, and the switch notes when it was heard, by the host's clock.

use std::collections::BTreeMap;

use ferrite_vm::switch::recorder::Beacon;

/// One run of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The machine that it was heard on.
    pub machine: String,
    /// When it was heard first and last, in nanoseconds since 1970.
    pub first_ns: u64,
    #[expect(missing_docs, reason = "see the field before")]
    pub last_ns: u64,
}

/// All that was heard: runs by instance and word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs(BTreeMap<(String, String), Run>);

impl Runs {
    /// Takes in what was heard. A line of syslog ends with what was said: `… says INSTANCE WORD`.
    pub fn hear(&mut self, beacon: &Beacon) {
        let Some((_, said)) = beacon.text.trim_end().rsplit_once("says ") else { return };
        let Some((instance, word)) = said.split_once(' ') else { return };
        let run =
            Run { machine: beacon.machine.clone(), first_ns: beacon.at_ns, last_ns: beacon.at_ns };
        let heard = self.0.entry((instance.to_owned(), word.to_owned())).or_insert(run);
        heard.last_ns = heard.last_ns.max(beacon.at_ns);
    }

    /// Runs that were heard since then, by instance.
    #[must_use]
    pub fn since(&self, ns: u64) -> BTreeMap<&str, Vec<(&str, &Run)>> {
        let mut all: BTreeMap<&str, Vec<(&str, &Run)>> = BTreeMap::new();
        for ((instance, word), run) in self.0.iter().filter(|(_, run)| run.last_ns >= ns) {
            all.entry(instance).or_default().push((word, run));
        }
        all
    }

    /// For how long two runs of one instance were heard at the same time, at most, since then.
    #[must_use]
    pub fn doubled_ns(&self, since_ns: u64) -> u64 {
        let mut most = 0;
        for runs in self.since(since_ns).values() {
            for (index, (_, one)) in runs.iter().enumerate() {
                for (_, other) in runs.iter().skip(index + 1) {
                    let (begin, end) =
                        (one.first_ns.max(other.first_ns), one.last_ns.min(other.last_ns));
                    most = most.max(end.saturating_sub(begin));
                }
            }
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(all: &[(u64, &str, &str)]) -> Runs {
        let mut runs = Runs::default();
        for (at_ns, machine, text) in all {
            let text = format!("<13>Nov 29 15:00:00 root: says {text}\n");
            runs.hear(&Beacon { at_ns: *at_ns, machine: (*machine).to_owned(), text });
        }
        runs
    }

    #[test]
    fn runs_are_told_apart_and_counted_where_they_meet() {
        let runs = heard(&[
            (1, "one", "a x"),
            (5, "one", "a x"),
            (3, "two", "a y"),
            (9, "two", "a y"),
            (4, "two", "b z"),
        ]);
        assert_eq!(runs.doubled_ns(0), 2);
        assert_eq!(runs.doubled_ns(6), 0);
        let later = runs.since(6);
        let run = Run { machine: "two".to_owned(), first_ns: 3, last_ns: 9 };
        assert_eq!(later, [("a", vec![("y", &run)])].into());
        assert_eq!(heard(&[]).since(0).len(), 0);
    }
}
