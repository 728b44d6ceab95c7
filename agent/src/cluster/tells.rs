//! What a leader says of what it decides.

use ferrite_cluster::lead::Report;
use ferrite_schema::api::EventKind;
use ferrite_schema::cluster::MachineId;

use super::lead;
use crate::node::Node;

const ABOUT_RECORDS: &str = "cluster records";
const ABOUT_BRAKE: &str = "cluster brake";
/// Most records that a node's status names.
const REFUSED_SHOWN_MAX: usize = 8;

/// What a leader decides, as events of this node; what it cannot understand, in its status.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tells<'node>(pub(super) &'node Node);

impl lead::Tells for Tells<'_> {
    fn decided(&mut self, report: &Report<'_>) {
        for made in report.moves {
            let place = |machine: &Option<MachineId>| {
                machine.as_ref().map_or_else(|| "nowhere".to_owned(), ToString::to_string)
            };
            let (from, to) = (place(&made.from), place(&made.to));
            let cause = made.cause.word();
            tracing::info!(instance = %made.instance, from, to, cause, "placed");
            let message = format!("placed: from {from} to {to} ({cause})");
            self.0.events.publish(Some(made.instance.as_str()), EventKind::State, message);
        }
        let refused: Vec<String> = report
            .refused
            .iter()
            .take(REFUSED_SHOWN_MAX)
            .map(|(key, why)| format!("{key}: {why}"))
            .collect();
        let stands = (!refused.is_empty()).then(|| {
            let what = if report.blocked {
                "the cluster decides nothing until what cannot be understood is mended"
            } else {
                "records of the cluster cannot be understood and stay as they are"
            };
            format!("{what}: {}", refused.join("; "))
        });
        self.0.stand(ABOUT_RECORDS.to_owned(), stands);
        let brakes = report.braked.then(|| {
            "many machines are gone at once: what ran on them is moved only if they stay away"
                .to_owned()
        });
        self.0.stand(ABOUT_BRAKE.to_owned(), brakes);
    }

    fn ended(&mut self) {
        // Whoever leads now says it.
        self.0.stand(ABOUT_RECORDS.to_owned(), None);
        self.0.stand(ABOUT_BRAKE.to_owned(), None);
    }
}
