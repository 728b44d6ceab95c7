//! Units' images: looked at before each start, and brought where they are not here, or where it is to be asked what they are now.

use ferrite_schema::api::EventKind;
use ferrite_schema::unit::{PullPolicy, Unit};
use ferrite_store::access::Unusable;
use ferrite_store::pull::{Brought, Pull};

use super::super::handle::Message;
use super::super::machine::Event;
use super::Supervisor;

impl Supervisor {
    /// Asks whether the image that is here may be used, which each start asks anew; where it may not as it is, or where its
    /// registry is to be asked, another one may come.
    pub(super) async fn pull(&mut self, name: &str) -> Option<Event> {
        let entry = self.entries.get_mut(name)?;
        entry.unasked = None;
        if entry.system.is_some() {
            return Some(Event::Pulled);
        }
        let (image, policy, asks) = (entry.unit.image.clone(), entry.unit.pull, asks(&entry.unit));
        match self.tools.puller.look(&image).await {
            Ok(_) if !asks => Some(Event::Pulled),
            Err(problem) if problem.is_final() => {
                Some(Event::PullFailed { reason: ferrite_schema::chain(&problem), may_pass: false })
            }
            found => {
                self.fetch(name);
                let why = match found {
                    Ok(_) | Err(Unusable::Absent { .. }) => String::new(),
                    Err(problem) => format!(", since {}", ferrite_schema::chain(&problem)),
                };
                let what = match policy {
                    PullPolicy::Always if asks => "asking what image is now",
                    PullPolicy::Missing | PullPolicy::Always => "pulling",
                    PullPolicy::Never => "looking on this node for",
                };
                Some(Event::Note { reason: format!("{what} {image}{why}") })
            }
        }
    }

    /// Brings a unit's image in the background.
    pub(super) fn fetch(&mut self, name: &str) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let (puller, image) = (self.tools.puller.clone(), entry.unit.image.clone());
        let (queue, name, policy) = (self.queue.clone(), name.to_owned(), entry.unit.pull);
        let mut progress = puller.watch(&image);
        let asked = image.clone();
        let send = move |event| {
            let (queue, name, image) = (queue.clone(), name.clone(), asked.clone());
            async move { drop(queue.send(Message::Image { name, image, event }).await) }
        };
        let (unasked, own) = (self.queue.clone(), entry.unit.name.clone());
        let task = self.tasks.spawn(async move {
            let brings = puller.bring(&image, policy);
            tokio::pin!(brings);
            let result = loop {
                tokio::select! {
                    result = &mut brings => break result,
                    Ok(()) = progress.changed() => {
                        let (done, total) = progress.borrow_and_update().bytes();
                        let reason = format!("pulling {image} ({} of {} MB)", megabytes(done), megabytes(total));
                        send(Event::Note { reason }).await;
                    }
                }
            };
            if let Ok(Brought::Unasked { record, why }) = &result {
                let why = format!(
                    "its registry does not say what {image} is now, and what is here is used, {}: {why}",
                    record.manifest
                );
                let message = Message::Unasked { name: own, image: image.clone(), why };
                drop(unasked.send(message).await);
            }
            send(event_of(result, policy)).await;
        });
        if let Some(older) = entry.pull.replace(task) {
            older.abort();
        }
    }

    /// A unit's registry was not there to be asked.
    pub(super) fn note_unasked(&mut self, name: &str, why: String) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.unasked = Some(why.clone());
            self.publish(name, EventKind::Image, why);
        }
    }
}

/// Its registry is asked at each start: a digest is what it is.
pub(super) fn asks(unit: &Unit) -> bool {
    unit.pull == PullPolicy::Always && !unit.image.contains('@')
}

fn event_of(result: Result<Brought, Pull>, policy: PullPolicy) -> Event {
    match result {
        Ok(_) => Event::Pulled,
        Err(error) => {
            let hint =
                if policy == PullPolicy::Never { "; its unit says `pull = \"never\"`" } else { "" };
            let reason = format!("{}{hint}", ferrite_schema::chain(&error));
            Event::PullFailed { reason, may_pass: error.may_pass() }
        }
    }
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_asked_where_a_unit_says_so_and_a_digest_does_not() {
        let unit = |image: &str, more: &str| {
            let text = format!("name = \"u\"\nimage = \"{image}\"\n{more}");
            ferrite_schema::unit::parse(&text).unwrap()
        };
        assert!(asks(&unit("a:1", "pull = \"always\"")));
        assert!(!asks(&unit("a:1", "")));
        assert!(!asks(&unit("a:1", "pull = \"never\"")));
        let pinned = format!("a@sha256:{}", "0".repeat(64));
        assert!(!asks(&unit(&pinned, "pull = \"always\"")));
    }

    #[test]
    fn one_that_is_never_pulled_says_why_it_is_not_here() {
        let absent = || Pull::from(Unusable::Absent { name: "a".to_owned() });
        let reason = |policy| match event_of(Err(absent()), policy) {
            Event::PullFailed { reason, may_pass: false } => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            reason(PullPolicy::Never),
            "image a is not on this node; pull or import it; its unit says `pull = \"never\"`"
        );
        assert!(reason(PullPolicy::Missing).ends_with("pull or import it"));
    }
}
