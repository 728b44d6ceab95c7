//! What is written where a user submits, changes or destroys a unit: transactions with the revision that was read. Pure.

use axum::http::StatusCode;
use ferrite_cluster::keys::Key;
use ferrite_cluster::names::{SpecHash, UnitName};
use ferrite_cluster::records::{self, OnLoss, Rest, Spec, Target, encode};
use ferrite_cluster::store::{Compare, Operation, Revision, Transaction};
use ferrite_cluster::transactions::submit;
use ferrite_schema::api::{UnitChange, UnitTarget};
use ferrite_schema::unit::{self, PullPolicy, REPLICAS_MAX, Unit};

use crate::api::cluster::picture::Picture;
use crate::api::cluster::write;
use crate::api::error::Failure;
use crate::cluster::may_change;

/// The level whose machines understand all that a document may say.
const UNIT_LEVEL: u32 = 1;

/// A unit as a user submits it.
#[derive(Debug, Clone)]
pub(in crate::api::cluster) struct Submitted {
    /// Its document.
    pub(in crate::api::cluster) unit: Unit,
    /// The digest that its image's name means now; absent where nobody says.
    pub(in crate::api::cluster) image: Option<String>,
    /// What should become of it.
    pub(in crate::api::cluster) target: Option<UnitTarget>,
    /// The revision that must have changed it last.
    pub(in crate::api::cluster) known: Option<i64>,
}

impl Submitted {
    /// The transaction that keeps it; none where all is so already.
    pub(in crate::api::cluster) fn transaction(
        &self,
        picture: &Picture,
    ) -> Result<Option<Transaction>, Failure> {
        let name: UnitName =
            self.unit.name.parse().map_err(|bad| Failure::bad_request(format!("{bad}")))?;
        alone(&self.unit)?;
        let (revision, before) = match picture.units.get(&name) {
            Some((revision, read)) => (*revision, Some(understood(&name, read)?)),
            None => (Revision::NONE, None),
        };
        if let Some(known) = self.known
            && known != revision.0
        {
            let why = format!(
                "unit {name} was changed meanwhile: it has revision {revision}, not {known}; read it again"
            );
            return Err(Failure::new(StatusCode::CONFLICT, why));
        }
        let target = match (self.target, before) {
            (Some(target), _) => target_of(target),
            (None, Some(before)) => before.target,
            (None, None) => Target::Inactive,
        };
        runs_itself(&name, target)?;
        let mut spec = version(&self.unit, self.image.clone())?;
        if let Some(before) = before
            && let Some(version) = kept(picture, before)
            && (Spec { image: version.image.clone(), ..spec.clone() }) == *version
            && (spec.image.is_none()
                || version.image.is_none() && before.target != Target::Inactive)
        {
            // What runs is not replaced because nobody can say now what its image's name means, or because somebody can now.
            spec.image.clone_from(&version.image);
        }
        let record = |spec| records::Unit {
            target,
            spec,
            stable: before.and_then(|before| before.stable.clone()),
            replicas: self.unit.replicas,
            rest: before.map_or_else(Rest::new, |before| before.rest.clone()),
        };
        let hash = hash_of(&spec)?;
        let there = matches!(picture.specs.get(&hash), Some(Ok(_)));
        if there && before == Some(&record(hash)) {
            return Ok(None);
        }
        submit(&name, &spec, record, revision).map(Some).map_err(write::refused)
    }
}

/// What the image of a version means now that nobody knew when it was submitted.
#[derive(Debug, Clone)]
pub(in crate::api::cluster) struct Pin {
    /// The version.
    pub(in crate::api::cluster) of: SpecHash,
    /// The digest.
    pub(in crate::api::cluster) digest: String,
}

/// The version and the image of which it should be known what it means, before this is done: what has not run yet is to run, and
/// all machines run the same.
pub(in crate::api::cluster) fn unpinned(
    picture: &Picture,
    name: &UnitName,
    change: &UnitChange,
) -> Option<(SpecHash, (String, PullPolicy))> {
    if change.target.is_none_or(|target| target_of(target) == Target::Inactive) {
        return None;
    }
    let (of, unit) = match picture.units.get(name) {
        Some((_, Ok(record))) => {
            let plain = kept(picture, record)?.image.is_none();
            (plain && record.target == Target::Inactive).then_some(())?;
            (record.spec.clone(), super::shown::document(picture, record).ok()?)
        }
        Some((_, Err(_))) => return None,
        None => {
            let (unit, image, of) = instance(picture, name).ok()?;
            image.is_none().then_some(())?;
            (of, unit)
        }
    };
    may_change(&unit.image).then_some((of, (unit.image, unit.pull)))
}

/// The transaction that changes a unit's target or replicas, or makes the instance of a template of this name. What begins to run
/// is pinned by `pin`, where that is still about it; what runs is not replaced for it.
pub(in crate::api::cluster) fn altered(
    picture: &Picture,
    name: &UnitName,
    change: UnitChange,
    pin: Option<&Pin>,
) -> Result<Option<Transaction>, Failure> {
    let digest_of = |of: &SpecHash| pin.filter(|pin| pin.of == *of).map(|pin| pin.digest.clone());
    let Some((revision, read)) = picture.units.get(name) else {
        let (unit, image, of) = instance(picture, name)?;
        let image = image.or_else(|| digest_of(&of));
        let UnitChange { target, replicas } = change;
        let unit = Unit { replicas, ..unit };
        unit::check(&unit).map_err(|problem| Failure::unprocessable(problem.to_string()))?;
        let known = Some(Revision::NONE.0);
        return Submitted { unit, image, target, known }.transaction(picture);
    };
    let before = understood(name, read)?;
    let mut after = before.clone();
    if let Some(target) = change.target {
        after.target = target_of(target);
        runs_itself(name, after.target)?;
    }
    if let Some(count) = change.replicas {
        countable(name, count)?;
        after.replicas = Some(count);
    }
    if after == *before {
        return Ok(None);
    }
    let begins = before.target == Target::Inactive && after.target != Target::Inactive;
    if let Some(digest) = digest_of(&before.spec).filter(|_| begins)
        && let Some(version) = kept(picture, before)
        && version.image.is_none()
    {
        let spec = Spec { image: Some(digest), ..version.clone() };
        let record = |spec| records::Unit { spec, ..after };
        return submit(name, &spec, record, *revision).map(Some).map_err(write::refused);
    }
    write::put(&Key::Unit(name.clone()), &after, *revision).map(Some)
}

/// The transaction that forgets a unit, understood or not; none where there is none. Its version stays: machines may still run it.
pub(in crate::api::cluster) fn removed(picture: &Picture, name: &UnitName) -> Option<Transaction> {
    let (revision, _) = picture.units.get(name)?;
    let key = Key::Unit(name.clone()).bytes();
    Some(Transaction {
        compares: vec![Compare::mod_revision(key.clone(), *revision)],
        operations: vec![Operation::Delete { key }],
    })
}

/// The version that a unit has now, where it is understood.
fn kept<'a>(picture: &'a Picture, record: &records::Unit) -> Option<&'a Spec> {
    picture.specs.get(&record.spec)?.as_ref().ok()
}

/// The template's instance of this name, what its image means where that is the template's, and the template's version.
fn instance(
    picture: &Picture,
    name: &UnitName,
) -> Result<(Unit, Option<String>, SpecHash), Failure> {
    let unknown = || {
        let why = format!("the cluster has no unit {name}: `ferrite unit list` lists all");
        Failure::new(StatusCode::NOT_FOUND, why)
    };
    let (prefix, _) = name.as_str().split_once('@').ok_or_else(unknown)?;
    let template: UnitName = format!("{prefix}@").parse().map_err(|_bad| unknown())?;
    if template == *name {
        return Err(unknown());
    }
    let (_, read) = picture.units.get(&template).ok_or_else(unknown)?;
    let record = understood(&template, read)?;
    let document = super::shown::document(picture, record).map_err(|why| {
        Failure::new(StatusCode::CONFLICT, format!("template {template} is not understood: {why}"))
    })?;
    let unit = unit::instance(&document, name.as_str())
        .map_err(|problem| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, problem.to_string()))?;
    let image = kept(picture, record).and_then(|spec| spec.image.clone());
    let image = image.filter(|_| unit.image == document.image);
    Ok((unit, image, record.spec.clone()))
}

fn understood<'a>(
    name: &UnitName,
    read: &'a Result<records::Unit, String>,
) -> Result<&'a records::Unit, Failure> {
    read.as_ref().map_err(|why| {
        let why = format!(
            "the record of unit {name} cannot be understood: {why}; update this machine, or destroy the unit first"
        );
        Failure::new(StatusCode::CONFLICT, why)
    })
}

/// The cluster places each unit by itself, and so cannot promise that another one is beside it.
fn alone(unit: &Unit) -> Result<(), Failure> {
    let Some(other) = unit.network.unit() else { return Ok(()) };
    let why = format!(
        "network: units of a cluster do not share networks: {other} may be on another machine; run both as units of one machine, with \
         `--machine NAME`"
    );
    Err(Failure::bad_request(why))
}

fn runs_itself(name: &UnitName, target: Target) -> Result<(), Failure> {
    if !name.is_template() || target == Target::Inactive {
        return Ok(());
    }
    let why = format!("{name} is a template and does not run itself: start an instance, {name}1");
    Err(Failure::new(StatusCode::CONFLICT, why))
}

fn countable(name: &UnitName, count: u32) -> Result<(), Failure> {
    if !(1..=REPLICAS_MAX).contains(&count) {
        return Err(Failure::bad_request(format!("replicas: use 1 to {REPLICAS_MAX}")));
    }
    if name.replica(count).is_none() {
        let why = format!("replicas: {name} has none, since {name}@{count} is no unit's name");
        return Err(Failure::bad_request(why));
    }
    Ok(())
}

/// What is below a hash: the document without what is not part of its version.
fn version(unit: &Unit, image: Option<String>) -> Result<Spec, Failure> {
    let placement = records::Placement {
        metadata: unit.placement.metadata.clone(),
        on_loss: unit.placement.on_loss.map(|on_loss| match on_loss {
            unit::OnLoss::Wait => OnLoss::Wait,
            unit::OnLoss::Move => OnLoss::Move,
        }),
        rest: Rest::new(),
    };
    let plain = Unit { replicas: None, placement: unit::Placement::default(), ..unit.clone() };
    let unit = serde_json::to_value(&plain).map_err(|error| Failure::internal(&error))?;
    Ok(Spec { level: UNIT_LEVEL, unit, image, placement, rest: Rest::new() })
}

fn hash_of(spec: &Spec) -> Result<SpecHash, Failure> {
    // The key plays no part in what is written.
    let bytes = encode(&Key::Spec(SpecHash::of(b"")), spec).map_err(write::refused)?;
    Ok(SpecHash::of(&bytes))
}

const fn target_of(target: UnitTarget) -> Target {
    match target {
        UnitTarget::Inactive => Target::Inactive,
        UnitTarget::Loaded => Target::Loaded,
        UnitTarget::Launched => Target::Launched,
    }
}
