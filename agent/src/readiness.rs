//! Whether the node counts as ready, as a pure function of what is seen. On it hangs whether a slot on trial is kept, so
//! a slot on trial has to show that it does what the node needs: containers, the API, a network where there was one.
//! A slot that has shown so before does not become bad because a cable was pulled: what is missing is said.

use ferrite_units::readiness::Settled;

/// Do containers work here?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Containers {
    /// No unit has shown it, and nobody has looked.
    Unknown,
    /// One of the OS's own has run.
    Shown,
    /// It has not.
    Failed(String),
}

/// Is the API served?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// Nobody asked for it.
    Unasked,
    /// It listens, and lets people in.
    Listens,
    /// It listens and lets nobody in: the node has never had a certificate, and waits for its first one.
    Waits(String),
    /// It does not.
    Failed(String),
}

/// Everything that is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The slot was good in an earlier boot, or in this one before the agent was started again.
    pub proven: bool,
    /// The configuration is known, or there never was one.
    pub configured: bool,
    /// What the units say.
    pub units: Settled,
    /// They have had their time: one that takes longer to start says nothing about the OS.
    pub late: bool,
    /// What a container of the OS's own says, where it was asked.
    pub containers: Containers,
    /// The API.
    pub api: Api,
    /// A good boot of this node had a link with an address.
    pub link_before: bool,
    /// There is one now.
    pub link_now: bool,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The node is ready; this is missing all the same.
    Ready(Vec<String>),
    /// It is not, for these reasons.
    Wait(Vec<String>),
    /// First a container of the OS's own is to be run.
    Prove,
}

/// Judges.
#[must_use]
pub fn judge(seen: &Evidence) -> Verdict {
    let starting = (!seen.units.tried).then(|| "units are being started".to_owned());
    if !seen.late && starting.is_some() {
        return Verdict::Wait(starting.into_iter().collect());
    }
    // Where the slot was good before, only units that do not run any more give a reason to doubt it.
    let doubted = !seen.units.ran && (!seen.proven || seen.units.suspect);
    let broken = match &seen.containers {
        Containers::Unknown if doubted => return Verdict::Prove,
        Containers::Failed(why) if doubted => Some(format!("containers do not work here: {why}")),
        Containers::Unknown | Containers::Shown | Containers::Failed(_) => None,
    };
    let mut missing = Vec::new();
    // A slot is not to blame for a cluster that is not there yet: the node was never reached with another one either.
    let waits = match &seen.api {
        Api::Waits(why) => Some(format!("the API lets nobody in yet: {why}")),
        Api::Unasked | Api::Listens | Api::Failed(_) => None,
    };
    if !seen.configured {
        missing.push("the configuration cannot be read".to_owned());
    }
    if let Api::Failed(why) = &seen.api {
        missing.push(format!("the API is not served: {why}"));
    }
    if seen.link_before && !seen.link_now {
        missing.push("no link has an address, and one had in an earlier boot".to_owned());
    }
    if broken.is_none() && (seen.proven || missing.is_empty()) {
        return Verdict::Ready(missing.into_iter().chain(waits).chain(starting).collect());
    }
    Verdict::Wait(broken.into_iter().chain(missing).chain(waits).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Evidence> {
        let failed = || "broken".to_owned();
        let mut all = Vec::new();
        for bits in 0..256_u32 {
            let bit = |number: u32| bits >> number & 1 == 1;
            let units = Settled { tried: bit(1), ran: bit(2), suspect: bit(3) && !bit(2) };
            for containers in [Containers::Unknown, Containers::Shown, Containers::Failed(failed())]
            {
                let waits = Api::Waits(failed());
                for api in [Api::Unasked, Api::Listens, waits, Api::Failed(failed())] {
                    all.push(Evidence {
                        proven: bit(0),
                        units,
                        containers: containers.clone(),
                        api,
                        link_before: bit(4),
                        link_now: bit(5),
                        configured: bit(6),
                        late: bit(7),
                    });
                }
            }
        }
        all
    }

    #[test]
    fn a_slot_on_trial_is_kept_only_by_what_it_has_shown() {
        for seen in all().iter().filter(|seen| !seen.proven) {
            let Verdict::Ready(missing) = judge(seen) else { continue };
            let noted =
                usize::from(!seen.units.tried) + usize::from(matches!(seen.api, Api::Waits(_)));
            assert_eq!(missing.len(), noted, "{seen:?}");
            assert!(seen.configured && (seen.units.tried || seen.late), "{seen:?}");
            assert!(seen.units.ran || seen.containers == Containers::Shown, "{seen:?}");
            assert!(seen.link_now || !seen.link_before, "{seen:?}");
            assert!(!matches!(seen.api, Api::Failed(_)), "{seen:?}");
        }
    }

    #[test]
    fn a_slot_that_was_good_is_not_given_up_for_a_cable_and_says_what_is_missing() {
        for seen in all().iter().filter(|seen| seen.proven && (seen.units.tried || seen.late)) {
            let lacks = usize::from(seen.link_before && !seen.link_now)
                + usize::from(!seen.configured)
                + usize::from(!seen.units.tried)
                + usize::from(matches!(seen.api, Api::Failed(_) | Api::Waits(_)));
            match judge(seen) {
                Verdict::Ready(missing) => assert_eq!(missing.len(), lacks, "{seen:?}"),
                Verdict::Prove | Verdict::Wait(_) => assert!(seen.units.suspect, "{seen:?}"),
            }
        }
    }

    #[test]
    fn whatever_is_waited_for_has_a_reason_and_there_is_a_way_to_be_ready() {
        for seen in all() {
            match judge(&seen) {
                Verdict::Wait(why) => assert!(!why.is_empty(), "{seen:?}"),
                Verdict::Prove => assert_eq!(seen.containers, Containers::Unknown, "{seen:?}"),
                Verdict::Ready(_) => {}
            }
            let well = Evidence {
                configured: true,
                units: Settled { tried: true, ..seen.units },
                containers: Containers::Shown,
                api: Api::Listens,
                link_now: true,
                ..seen
            };
            assert_eq!(judge(&well), Verdict::Ready(vec![]));
        }
    }

    /// A database is migrated for an hour before its first container: that is no reason to restart a node.
    #[test]
    fn a_unit_that_takes_long_to_start_is_waited_for_so_long_and_then_said() {
        for seen in all().iter().filter(|seen| !seen.units.tried && seen.proven) {
            let verdict = judge(seen);
            if !seen.late {
                assert!(matches!(verdict, Verdict::Wait(_)), "{seen:?}");
            } else if !seen.units.suspect {
                assert!(matches!(verdict, Verdict::Ready(_)), "{seen:?}: {verdict:?}");
            }
        }
    }

    #[test]
    fn a_node_that_never_had_a_network_is_ready_without() {
        let seen = Evidence {
            proven: false,
            configured: true,
            late: false,
            units: Settled { tried: true, ran: false, suspect: false },
            containers: Containers::Shown,
            api: Api::Unasked,
            link_before: false,
            link_now: false,
        };
        assert_eq!(judge(&seen), Verdict::Ready(vec![]));
    }
}
