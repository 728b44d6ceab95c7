use proptest::prelude::*;

use super::*;

fn unit(name: &str, image: &str, after: &[&str]) -> Unit {
    let after: Vec<String> = after.iter().map(|name| format!("{name:?}")).collect();
    let text = format!("name = {name:?}\nimage = {image:?}\nafter = [{}]\n", after.join(", "));
    unit::parse(&text).unwrap()
}

fn launched(unit: Unit) -> Assigned {
    Assigned { unit, launched: true }
}

fn names(plan: &Plan) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
    let take = plan.take.iter().map(|one| one.unit.name.as_str()).collect();
    let not_taken = plan.not_taken.iter().map(|one| one.name.as_str()).collect();
    (plan.forget.iter().map(String::as_str).collect(), take, not_taken)
}

#[test]
fn a_name_is_one_units_and_a_local_template_is_in_nobodys_way() {
    let of = |origin, unit| Present { origin, unit, removing: false };
    let (web, template, old) =
        (unit("web@1", "a:1", &[]), unit("web@", "a:1", &[]), unit("old", "a:1", &[]));
    let there = BTreeMap::from([
        ("web@1", of(Origin::Local, &web)),
        ("web@", of(Origin::Local, &template)),
        ("old", of(Origin::Cluster, &old)),
        ("+etcd", of(Origin::System, &old)),
    ]);
    let wanted = vec![
        launched(unit("web@1", "a:2", &[])),
        launched(unit("web@2", "a:1", &[])),
        launched(unit("web@2", "a:2", &[])),
        launched(unit("db@", "a:1", &[])),
    ];
    let plan = plan(&there, wanted);
    assert_eq!(names(&plan), (vec!["old"], vec!["web@2"], vec!["web@1", "web@2", "db@"]));
    assert!(plan.not_taken[0].why.contains("of its own called web@1"), "{plan:?}");
    assert_eq!(plan.take[0].unit.image, "a:1");
}

#[test]
fn circles_are_those_of_what_will_be() {
    let (old_a, old_b) = (unit("a", "i:1", &["b"]), unit("b", "i:1", &[]));
    let mine = unit("mine", "i:1", &["c"]);
    let of = |origin, unit| Present { origin, unit, removing: false };
    let there = BTreeMap::from([
        ("a", of(Origin::Cluster, &old_a)),
        ("b", of(Origin::Cluster, &old_b)),
        ("mine", of(Origin::Local, &mine)),
    ]);
    // The two turn around at the same time.
    let turned = vec![launched(unit("b", "i:1", &["a"])), launched(unit("a", "i:1", &[]))];
    assert_eq!(names(&plan(&there, turned)), (vec![], vec!["b", "a"], vec![]));
    let closed = vec![
        launched(unit("b", "i:1", &["a"])),
        launched(old_a.clone()),
        launched(unit("c", "i:1", &["mine"])),
    ];
    let plan = plan(&there, closed);
    assert_eq!(names(&plan), (vec![], vec!["a"], vec!["b", "c"]));
    assert!(plan.not_taken[0].why.contains("b → a → b"), "{plan:?}");
}

/// A few names, so that they meet.
fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("web@1"), Just("web@2"), Just("web@"), Just("+etcd")]
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![Just(Origin::Local), Just(Origin::Cluster), Just(Origin::System)]
}

fn any_unit(name: &str) -> impl Strategy<Value = Unit> + use<> {
    let name = name.to_owned();
    (0..3_u8, proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("web@1")], 0..2))
        .prop_map(move |(version, after)| {
            let mut unit = unit("x", &format!("i:{version}"), &after);
            unit.name.clone_from(&name);
            unit
        })
}

proptest! {
    /// Whatever is there and whatever is wanted: each wanted one is answered exactly once, what others want is neither taken nor
    /// forgotten, nothing of the cluster is left over, and taking the same once more changes nothing.
    #[test]
    fn an_assignment_is_about_the_clusters_units_and_all_of_them(
        there in proptest::collection::btree_map(name(), (origin(), any::<bool>(), 0..1_u8), 0..6)
            .prop_flat_map(|there| {
                there.into_iter().map(|(name, (origin, removing, _))| {
                    (Just(name), Just(origin), Just(removing), any_unit(name))
                }).collect::<Vec<_>>()
            }),
        wanted in proptest::collection::vec(
            (name().prop_flat_map(any_unit), any::<bool>())
                .prop_map(|(unit, launched)| Assigned { unit, launched }),
            0..6,
        ),
    ) {
        let present: BTreeMap<&str, Present<'_>> = there
            .iter()
            .map(|(name, origin, removing, unit)| {
                (*name, Present { origin: *origin, unit, removing: *removing })
            })
            .collect();
        let planned = plan(&present, wanted.clone());
        prop_assert_eq!(planned.take.len() + planned.not_taken.len(), wanted.len());
        for one in &planned.take {
            prop_assert!(wanted.contains(one));
            let name = one.unit.name.as_str();
            prop_assert!(present.get(name).is_none_or(|there| there.origin == Origin::Cluster), "{}", name);
            let refused = planned.not_taken.iter().any(|other| other.name == name && !other.why.contains("twice"));
            prop_assert!(!refused, "{}", name);
        }
        let wants = |name: &str| wanted.iter().any(|one| one.unit.name == name);
        for (name, there) in &present {
            let leaves = there.origin == Origin::Cluster && !there.removing && !wants(name);
            prop_assert_eq!(planned.forget.iter().any(|gone| gone == name), leaves, "{}", name);
        }
        // As it is afterwards.
        let mut after: BTreeMap<&str, Present<'_>> = present
            .iter()
            .filter(|(name, _)| !planned.forget.iter().any(|gone| gone == *name))
            .map(|(name, there)| (*name, *there))
            .collect();
        after.extend(planned.take.iter().map(|one| {
            let there = Present { origin: Origin::Cluster, unit: &one.unit, removing: false };
            (one.unit.name.as_str(), there)
        }));
        let again = plan(&after, planned.take.clone());
        prop_assert_eq!(&again.take, &planned.take);
        prop_assert_eq!(&again.not_taken, &Vec::new());
    }
}
