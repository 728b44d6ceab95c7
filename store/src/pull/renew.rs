//! Images of which it is asked what their name means: of their registry at each start, or of this node alone.

use std::time::Duration;

use ferrite_schema::reference::Reference;
use ferrite_schema::unit::PullPolicy;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Puller, place};
use crate::access::Unusable;
use crate::digest::Digest;
use crate::pull::{Pull, document};
use crate::store::Record;

/// How long a registry that does not answer is asked again where the image is here: a network that comes up with the node takes no
/// longer, and a unit is not to stay down because of a registry that does.
const ASKS_WITHIN: Duration = Duration::from_secs(15);
/// Between two times; one of them is several tries already.
const PAUSE: Duration = Duration::from_secs(1);

/// An image that may be used.
#[derive(Debug, Clone, PartialEq)]
pub enum Brought {
    /// As it was asked for.
    AsAsked(Record),
    /// As it is here: its registry does not say what its name means now.
    Unasked {
        /// The image.
        record: Record,
        /// Why its registry does not say.
        why: String,
    },
}

impl Puller {
    /// The image called `name`, from where a unit's `pull` says. Dropping the future ends it; what was downloaded is kept.
    ///
    /// With [`PullPolicy::Always`] its registry is asked what the name means, and nothing is downloaded where that is here. What a
    /// digest says need not be asked for. A registry that does not answer keeps nothing from being used that is here; one that
    /// answers that it has no such image, or gives it to nobody like us, does.
    ///
    /// # Errors
    /// The image cannot be used.
    pub async fn bring(&self, name: &str, policy: PullPolicy) -> Result<Brought, Pull> {
        let reference = self.shared.images.reference(name)?;
        match policy {
            PullPolicy::Always if reference.digest().is_none() => {
                self.renew(&reference, name, ASKS_WITHIN).await
            }
            PullPolicy::Missing | PullPolicy::Always => {
                self.ensure(name).await.map(Brought::AsAsked)
            }
            PullPolicy::Never => Ok(Brought::AsAsked(self.here(&reference, name).await?)),
        }
    }

    /// The image, without a registry and without another machine: layers that are missing are unpacked again, and a digest may be
    /// that of an image of another name.
    async fn here(&self, reference: &Reference, name: &str) -> Result<Record, Unusable> {
        let job = self.job(&reference.to_string());
        let _turn = job.turn.lock().await;
        let _in_use = self.shared.images.begin_use();
        match self.mended(name).await {
            Err(problem) if !problem.is_final() && self.adopted(reference, name).await => {
                self.mended(name).await.map_err(|_other| problem)
            }
            other => other,
        }
    }

    /// The image that its registry says, which is asked for so long where it does not answer and one is here.
    pub(super) async fn renew(
        &self,
        reference: &Reference,
        name: &str,
        within: Duration,
    ) -> Result<Brought, Pull> {
        let record = match self.here(reference, name).await {
            Ok(record) => record,
            Err(problem) if problem.is_final() => return Err(problem.into()),
            Err(_) => return self.pull(name).await.map(Brought::AsAsked),
        };
        let deadline = Instant::now() + within;
        let mut last = None;
        let unasked = |record, why| {
            tracing::warn!(image = name, error = why, "registry-not-asked");
            Ok(Brought::Unasked { record, why })
        };
        let means = loop {
            match timeout_at(deadline, self.means(reference, name)).await {
                Ok(Ok(means)) => break means,
                Ok(Err(problem)) if !problem.is_unanswered() => return Err(problem),
                Ok(Err(problem)) => {
                    let why = ferrite_schema::chain(&problem);
                    if !problem.may_pass() || Instant::now() + PAUSE >= deadline {
                        return unasked(record, why);
                    }
                    last = Some(why);
                    sleep(PAUSE).await;
                }
                Err(_elapsed) => {
                    let silent = || format!("it has not answered within {} s", within.as_secs());
                    return unasked(record, last.unwrap_or_else(silent));
                }
            }
        };
        if means.is_some_and(|digest| record.is_at(&digest.to_string())) {
            return Ok(Brought::AsAsked(record));
        }
        match self.pull(name).await {
            Err(problem) if problem.is_unanswered() => {
                unasked(record, ferrite_schema::chain(&problem))
            }
            other => other.map(Brought::AsAsked),
        }
    }

    /// The digest that a name means in its registry now, of the first place that answers; `None` where a place has it and does not
    /// say.
    async fn means(&self, reference: &Reference, name: &str) -> Result<Option<Digest>, Pull> {
        self.shared.policy.check_name(reference)?;
        let mut last = None;
        for place in place::places(reference, &self.shared.client, &self.shared.trust) {
            match document::means(&place, reference.version(), name).await {
                Ok(digest) => return Ok(digest),
                Err(error) => last = Some(error),
            }
        }
        let why = "its registry has no address".to_owned();
        Err(last.unwrap_or_else(|| Pull::Unfit { name: name.to_owned(), why }))
    }
}
