//! What a start takes along: which units it starts with the one that is asked for, and which instances it makes. Pure, and
//! complete before anything is done, so that a start that is refused leaves nothing behind.

use std::collections::BTreeMap;

use ferrite_schema::api::Origin;
use ferrite_schema::unit::{self, Unit, template};

use crate::graph::{self, Edges};
use crate::handle::Refusal;
use crate::joining;

/// Most units that one start takes along. Two templates that require two instances each would be as many as names have room for.
const UNITS_MAX: usize = 500;

/// A unit that is on the node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// Its document.
    pub(crate) unit: &'a Unit,
    /// Who wants it here.
    pub(crate) origin: Origin,
    /// It was made from a template.
    pub(crate) made: bool,
    /// It is forgotten as soon as it has stopped.
    pub(crate) removing: bool,
}

/// All units of the node, by name.
pub(crate) type Everyone<'a> = BTreeMap<&'a str, Known<'a>>;

/// What a start does.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Instances that are made of their templates, or made anew.
    pub(crate) make: Vec<Unit>,
    /// Units of this node that are started, what is required first.
    pub(crate) order: Vec<String>,
}

/// What the start of a unit does, with everything that it requires.
///
/// # Errors
/// It cannot be; nothing is to be done.
pub(crate) fn plan(name: &str, all: &Everyone<'_>) -> Result<Plan, Refusal> {
    let mut order = vec![name.to_owned()];
    let mut made: BTreeMap<String, Unit> = BTreeMap::new();
    let mut index = 0;
    while let Some(next) = order.get(index).cloned() {
        index += 1;
        if let Some(unit) = instance(&next, all)? {
            made.insert(next.clone(), unit);
        }
        let unit = match (made.get(&next), all.get(next.as_str())) {
            (Some(unit), _) => unit,
            (None, None) if next == name => return Err(Refusal::Unknown { name: next }),
            (None, None) => {
                return Err(Refusal::Missing { name: name.to_owned(), missing: next });
            }
            // It is waited for; whether it runs is others' to say.
            (None, Some(there)) if there.origin != Origin::Local => continue,
            (None, Some(there)) if there.removing => return Err(Refusal::Going { name: next }),
            (None, Some(there)) => there.unit,
        };
        let shared = unit.network.unit().map(str::to_owned);
        for required in unit.requires.iter().chain(&shared) {
            if !order.contains(required) {
                if order.len() >= UNITS_MAX {
                    return Err(Refusal::TooMany { name: name.to_owned(), most: UNITS_MAX });
                }
                order.push(required.clone());
            }
        }
    }
    refuse_networks(&order, &made, all)?;
    refuse_circles(&made, all)?;
    // What is required first: then nothing waits for a wish that is about to be heard.
    order.reverse();
    order.retain(|name| {
        made.contains_key(name)
            || all.get(name.as_str()).is_some_and(|there| there.origin == Origin::Local)
    });
    Ok(Plan { make: made.into_values().collect(), order })
}

/// The instance that is to be made of its template before anything is done with it, where one is: a template's new version holds
/// for an instance from its next start by a person on. One that is being forgotten is made again.
///
/// # Errors
/// It is a template itself, or its template makes no such instance.
pub(crate) fn instance(name: &str, all: &Everyone<'_>) -> Result<Option<Unit>, Refusal> {
    let there = all.get(name);
    if template::is_template(name) {
        let name = name.to_owned();
        return Err(match there {
            Some(_) => Refusal::Template { name },
            None => Refusal::Unknown { name },
        });
    }
    if there.is_some_and(|there| !there.made) {
        return Ok(None);
    }
    let template = template::template_of(name).and_then(|of| all.get(of.as_str()));
    let Some(template) = template else { return Ok(None) };
    let unit = unit::instance(template.unit, name)
        .map_err(|source| Refusal::Instance { name: name.to_owned(), source })?;
    let is_there = there.is_some_and(|there| *there.unit == unit && !there.removing);
    Ok((!is_there).then_some(unit))
}

/// Refuses units that want a network that is not to be shared.
fn refuse_networks(
    order: &[String],
    made: &BTreeMap<String, Unit>,
    all: &Everyone<'_>,
) -> Result<(), Refusal> {
    let document = |name: &str| made.get(name).or_else(|| all.get(name).map(|there| there.unit));
    for unit in order.iter().filter_map(|name| document(name)) {
        let other = unit.network.unit().and_then(document);
        if let Some((other, why)) =
            other.and_then(|other| Some((other, joining::refused(unit, other)?)))
        {
            let (name, other) = (unit.name.clone(), other.name.clone());
            return Err(Refusal::Network { name, other, why });
        }
    }
    Ok(())
}

/// Refuses instances with which units would wait for each other for ever.
fn refuse_circles(made: &BTreeMap<String, Unit>, all: &Everyone<'_>) -> Result<(), Refusal> {
    let mut edges = edges(all);
    edges.extend(made.iter().map(|(name, unit)| (name.as_str(), graph::edges(unit))));
    match made.keys().find_map(|name| graph::cycle(&edges, name)) {
        Some(circle) => Err(Refusal::Circle { circle }),
        None => Ok(()),
    }
}

/// Who waits for whom among those that stay.
pub(crate) fn edges<'a>(all: &Everyone<'a>) -> Edges<'a> {
    let stays = |name: &str, there: &Known<'_>| !there.removing && !template::is_template(name);
    let there = all.iter().filter(|(name, there)| stays(name, there));
    there.map(|(name, there)| (*name, graph::edges(there.unit))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, more: &str) -> Unit {
        unit::parse(&format!("name = \"{name}\"\nimage = \"i\"\n{more}")).unwrap()
    }

    fn local(unit: &Unit) -> Known<'_> {
        Known { unit, origin: Origin::Local, made: false, removing: false }
    }

    fn everyone<'a>(known: impl IntoIterator<Item = Known<'a>>) -> Everyone<'a> {
        known.into_iter().map(|known| (known.unit.name.as_str(), known)).collect()
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.make.iter().map(|unit| unit.name.as_str()).collect()
    }

    #[test]
    fn what_is_required_is_started_first_and_instances_are_made() {
        let (web, log) = (unit("web@", "requires = [\"db@%i\", \"log\"]"), unit("log", ""));
        let (db, of_cluster) = (unit("db@", "requires = [\"net\"]"), unit("net", ""));
        let net = Known { origin: Origin::Cluster, ..local(&of_cluster) };
        let plan = plan("web@1", &everyone([local(&web), local(&log), local(&db), net])).unwrap();
        assert_eq!(plan.order, ["log", "db@1", "web@1"]);
        assert_eq!(names(&plan), ["db@1", "web@1"]);
        assert_eq!(plan.make[1].requires, ["db@1", "log"]);
    }

    #[test]
    fn whose_network_is_shared_is_started_first() {
        let (side, web) = (unit("side@", "network = \"unit:web@%i\""), unit("web@", ""));
        let plan = plan("side@1", &everyone([local(&side), local(&web)])).unwrap();
        assert_eq!(plan.order, ["web@1", "side@1"]);
        assert_eq!(names(&plan), ["side@1", "web@1"]);
    }

    #[test]
    fn a_network_that_is_not_to_be_shared_starts_nothing() {
        let side = unit("side", "network = \"unit:web\"");
        let refused = |others: &[&Unit]| {
            let all = others.iter().map(|unit| local(unit)).chain([local(&side)]);
            plan("side", &everyone(all)).unwrap_err().to_string()
        };
        assert!(refused(&[]).contains("requires web, which is not on this node"));
        let words = "unit side cannot share the network of web: web has the node's";
        assert!(refused(&[&unit("web", "network = \"host\"")]).starts_with(words));
        let chain = [unit("web", "network = \"unit:db\""), unit("db", "")];
        assert!(refused(&[&chain[0], &chain[1]]).contains("web has that of db"));
        let (one, other) =
            (unit("side@", "network = \"unit:web@%i\""), unit("web@", "requires = [\"side@%i\"]"));
        let words = plan("side@1", &everyone([local(&one), local(&other)])).unwrap_err();
        assert!(words.to_string().contains("in a circle"), "{words}");
        let template = unit("web@", "network = \"host\"");
        let side = unit("side", "network = \"unit:web@1\"");
        let words = plan("side", &everyone([local(&side), local(&template)])).unwrap_err();
        assert!(words.to_string().contains("web@1 has the node's"), "{words}");
    }

    /// Each of these made instances up to the one that was refused.
    #[test]
    fn a_start_that_is_refused_makes_nothing() {
        let missing = unit("web@", "requires = [\"db@%i\", \"absent\"]");
        let (db, back) = (unit("db@", ""), unit("db@", "requires = [\"web@%i\"]"));
        let longer = unit("web@", "requires = [\"web@%i1\"]");
        let doubles = unit("web@", "requires = [\"web@%ia\", \"web@%ib\"]");
        let on_going = unit("web@", "requires = [\"db@%i\", \"log\"]");
        let log = unit("log", "");
        let going = || Known { removing: true, ..local(&log) };
        for (all, words) in [
            (vec![local(&missing), local(&db)], "requires absent, which is not on this node"),
            (vec![local(&missing), local(&back)], "requires absent"),
            (vec![local(&longer)], "make web@1"),
            (vec![local(&doubles)], "more than 500 units"),
            (vec![local(&on_going), local(&db), going()], "unit log is being forgotten"),
        ] {
            let refused = plan("web@1", &everyone(all)).unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
        }
        let circle = unit("web@", "requires = [\"db@%i\"]");
        let refused = plan("web@1", &everyone([local(&circle), local(&back)])).unwrap_err();
        assert!(refused.to_string().contains("in a circle"), "{refused}");
    }

    #[test]
    fn what_is_being_forgotten_is_not_started_but_an_instance_is_made_again() {
        let (log, template) = (unit("log", ""), unit("web@", ""));
        let going = Known { removing: true, ..local(&log) };
        let refused = plan("log", &everyone([going])).unwrap_err();
        assert!(matches!(refused, Refusal::Going { name } if name == "log"));
        let instance = unit("web@1", "");
        let made = Known { made: true, ..local(&instance) };
        let plan_of = |known| plan("web@1", &everyone([local(&template), known]));
        assert_eq!(names(&plan_of(made).unwrap()), <[&str; 0]>::default());
        assert_eq!(names(&plan_of(Known { removing: true, ..made }).unwrap()), ["web@1"]);
        // One that has a document of its own is nobody's instance.
        let own = Known { made: false, removing: true, ..made };
        assert!(matches!(plan_of(own).unwrap_err(), Refusal::Going { .. }));
        // A template's new version holds for its instances.
        let newer = unit("web@", "hostname = \"new\"");
        let plan = plan("web@1", &everyone([local(&newer), made])).unwrap();
        assert_eq!(plan.make[0].hostname.as_deref(), Some("new"));
    }

    #[test]
    fn who_is_not_there_is_said() {
        let nobody = everyone([]);
        for name in ["web", "web@", "web@1"] {
            assert!(matches!(plan(name, &nobody).unwrap_err(), Refusal::Unknown { .. }), "{name}");
        }
        let template = unit("web@", "");
        let refused = plan("web@", &everyone([local(&template)])).unwrap_err();
        assert!(matches!(refused, Refusal::Template { .. }));
        let web = unit("web", "requires = [\"db\"]");
        let refused = plan("web", &everyone([local(&web)])).unwrap_err();
        assert!(matches!(refused, Refusal::Missing { .. }));
    }
}
