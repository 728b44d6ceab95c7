//! A unit, as the supervisor has it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrite_schema::api::{Origin, UnitState};
use ferrite_schema::shim::Command;
use ferrite_schema::unit::Unit;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::super::handle::Refusal;
use super::super::machine::{Effect, Event, Life, Machine, Moment, Policy};
use super::super::record::Record;
use super::super::system::SystemUnit;

/// A unit with its life.
pub(crate) struct Entry {
    /// Who wants it here.
    pub(crate) origin: Origin,
    /// What it is, where it is the node's own.
    pub(crate) system: Option<SystemUnit>,
    /// Who waits until it is gone.
    pub(crate) gone: Vec<oneshot::Sender<Result<(), Refusal>>>,
    /// Its document.
    pub(crate) unit: Unit,
    /// The document that its latest container was started with.
    pub(crate) launched: Option<Unit>,
    pub(crate) machine: Machine,
    pub(crate) wanted: bool,
    /// It was made from a template.
    pub(crate) made: bool,
    pub(crate) removing: bool,
    pub(crate) since: SystemTime,
    pub(crate) stop_signal: i32,
    pub(crate) addresses: Vec<String>,
    /// The run whose network its latest container shares, where it is another unit's.
    pub(crate) joined: Option<u64>,
    /// What a person should know of what the image of its latest container says.
    pub(crate) image_notes: Vec<String>,
    /// When its timer fires next, in seconds since the epoch.
    pub(crate) next_fire: Option<u64>,
    /// When its timer fired last.
    pub(crate) fired: Option<u64>,
    /// Its program has run on this node before this boot.
    pub(crate) ran_before: bool,
    /// Numbers the runs: what an older run's shim says late is not about this one.
    pub(crate) run: u64,
    pub(crate) commands: Option<mpsc::Sender<Command>>,
    /// Numbers the timers: one that was replaced may still ring.
    pub(crate) timer: u64,
    pub(crate) pull: Option<AbortHandle>,
    /// Why its registry was not asked for the image that its latest start has, where it was to be.
    pub(crate) unasked: Option<String>,
    pub(crate) check: Option<AbortHandle>,
    /// What was written down last.
    pub(crate) written: Option<Record>,
}

impl Entry {
    /// One that is known and not asked to run.
    pub(super) fn new(unit: Unit) -> Self {
        Self::with_machine(Machine::new(Policy::of(&unit)), unit)
    }

    /// An entry of which an earlier agent wrote down what it knew.
    pub(super) fn of_record(unit: Unit, record: Record) -> Self {
        let machine = Machine::of_life(Policy::of(&unit), record.life.clone());
        let entry = Self::with_machine(machine, unit);
        let mut entry = Self {
            launched: record.launched.clone(),
            origin: record.origin,
            system: record.system.clone(),
            since: UNIX_EPOCH + Duration::from_secs(record.since_s),
            stop_signal: record.stop_signal,
            addresses: record.addresses.clone(),
            image_notes: record.image_notes.clone(),
            run: record.run,
            written: Some(record),
            ..entry
        };
        entry.go_by_document();
        entry
    }

    fn with_machine(machine: Machine, unit: Unit) -> Self {
        Self {
            machine,
            origin: Origin::Local,
            system: None,
            gone: Vec::new(),
            unit,
            launched: None,
            wanted: false,
            made: false,
            removing: false,
            since: SystemTime::now(),
            stop_signal: nix::sys::signal::Signal::SIGTERM as i32,
            addresses: Vec::new(),
            joined: None,
            image_notes: Vec::new(),
            next_fire: None,
            fired: None,
            ran_before: false,
            run: 0,
            commands: None,
            timer: 0,
            pull: None,
            unasked: None,
            check: None,
            written: None,
        }
    }

    /// Takes one event and says what is to be done.
    pub(super) fn step(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        // An image may also come for a start that is not asked for yet.
        if event == Event::Pulled && self.machine.state() == UnitState::Pulling {
            self.launched = Some(self.unit.clone());
        }
        let effects = self.machine.step(event, now);
        if effects.iter().any(|effect| matches!(effect, Effect::Launch(_))) {
            self.run += 1;
        }
        self.go_by_document();
        effects
    }

    /// The document that it lives by: as long as there is a container, or a command after it, the one that those were started
    /// with, whatever was submitted meanwhile.
    pub(super) fn lives_by(&self) -> &Unit {
        self.launched.as_ref().filter(|_| self.machine.is_alive()).unwrap_or(&self.unit)
    }

    /// Lets its life go by the document that it lives by. What the clock does after that is the latest one's to say.
    pub(super) fn go_by_document(&mut self) {
        let timer = self.unit.timer.is_some();
        self.machine.set_policy(Policy { timer, ..Policy::of(self.lives_by()) });
    }

    /// Nothing of it was ever begun in this boot.
    pub(super) fn is_new(&self) -> bool {
        *self.machine.life() == Life::default()
    }
}

#[cfg(test)]
mod tests {
    use ferrite_schema::api::{Exit, HealthState};
    use ferrite_schema::unit;

    use super::super::super::machine::{End, RunKind};
    use super::*;

    const NOW: Moment = Duration::from_secs(100);
    const SECOND: Duration = Duration::from_secs(1);

    fn document(more: &str) -> Unit {
        unit::parse(&format!("name = \"web\"\nimage = \"i\"\n{more}")).unwrap()
    }

    /// A unit whose container runs by this document.
    fn running(more: &str) -> Entry {
        let mut entry = Entry::new(document(more));
        for event in [Event::Start, Event::Met, Event::Pulled, Event::Started { pid: 7 }] {
            entry.step(event, NOW);
        }
        assert_eq!(entry.machine.state(), UnitState::Running);
        entry
    }

    fn submit(entry: &mut Entry, more: &str) {
        entry.unit = document(more);
        entry.go_by_document();
    }

    fn stop() -> Event {
        Event::Stop { reason: "stopped".to_owned() }
    }

    fn ended(code: u8) -> Event {
        Event::Ended(End { exit: Exit::Status { code }, oom_killed: false })
    }

    const POST_STOP: &str = "post_stop = [[\"/bin/tidy\"]]";

    #[test]
    fn commands_that_a_run_did_not_begin_with_are_not_run_after_it() {
        let mut entry = running("");
        submit(&mut entry, POST_STOP);
        entry.step(stop(), NOW);
        assert_eq!(entry.step(ended(0), NOW), [Effect::ClearTimer, Effect::Release]);
        assert_eq!((entry.machine.state(), entry.run), (UnitState::Loaded, 1));
        // Those that it began with are, also by the agent's successor.
        let mut entry = running(POST_STOP);
        submit(&mut entry, "");
        let record = Record {
            life: entry.machine.life().clone(),
            run: entry.run,
            since_s: 0,
            launched: entry.launched.clone(),
            stop_signal: 15,
            addresses: Vec::new(),
            image_notes: Vec::new(),
            origin: Origin::Local,
            system: None,
        };
        for mut entry in [entry, Entry::of_record(document(""), record)] {
            entry.step(stop(), NOW);
            let launch = Effect::Launch(RunKind::PostStop(0));
            assert!(entry.step(ended(0), NOW).contains(&launch));
            assert_eq!(entry.lives_by().post_stop.len(), 1);
            entry.step(ended(0), NOW);
            assert_eq!(entry.machine.state(), UnitState::Loaded);
            assert_eq!(entry.lives_by().post_stop.len(), 0);
        }
    }

    const CHECKED: &str = "[health]\ntcp = 80\nretries = 1";

    /// Whoever waits for it would wait for ever, and nobody would hear that it is unwell.
    #[test]
    fn a_health_check_that_is_taken_away_goes_on_until_the_run_ends() {
        for more in ["", "[health]\ntcp = 81\nstart_period_s = 3600\nretries = 9"] {
            let mut entry = running(CHECKED);
            submit(&mut entry, more);
            assert_eq!(entry.step(Event::Deadline, NOW + SECOND), [Effect::Check]);
            let well = entry.step(Event::Checked(Ok(())), NOW + SECOND);
            assert_eq!(well, [Effect::SetTimer(NOW + SECOND + 10 * SECOND)]);
            assert_eq!(entry.machine.health(), Some(HealthState::Healthy));
            assert!(entry.machine.is_ready());
            let unwell = Event::Checked(Err("refused".to_owned()));
            assert_eq!(entry.step(unwell, NOW + 2 * SECOND).first(), Some(&Effect::Signal));
        }
        // Nor does one that is added take its readiness from a run that began without.
        let mut entry = running("");
        submit(&mut entry, CHECKED);
        assert!(entry.machine.is_ready());
        assert_eq!(entry.machine.health(), None);
    }

    #[test]
    fn a_run_has_the_grace_and_the_restart_policy_that_it_began_with() {
        let grace = |seconds: u32| format!("stop_grace_s = {seconds}\n{POST_STOP}");
        let mut entry = running(&grace(1));
        submit(&mut entry, &grace(60));
        assert!(entry.step(stop(), NOW).contains(&Effect::SetTimer(NOW + SECOND)));
        submit(&mut entry, &grace(90));
        entry.step(ended(0), NOW);
        let begun = entry.step(Event::Started { pid: 8 }, NOW);
        assert!(begun.contains(&Effect::SetTimer(NOW + SECOND)), "{begun:?}");
        entry.step(ended(0), NOW);
        let mut entry = running("restart = \"always\"");
        submit(&mut entry, "restart = \"never\"");
        entry.step(ended(3), NOW);
        assert_eq!(entry.machine.state(), UnitState::BackingOff);
        // The next one goes by the new document.
        for event in [Event::Deadline, Event::Met, Event::Pulled, Event::Started { pid: 8 }] {
            entry.step(event, NOW + SECOND);
        }
        entry.step(ended(3), NOW + SECOND);
        assert_eq!(entry.machine.state(), UnitState::Failed);
    }

    #[test]
    fn a_timer_that_comes_or_goes_while_it_runs_is_the_latest_documents() {
        let mut entry = running("restart = \"never\"");
        submit(&mut entry, "[timer]\nevery_s = 60");
        entry.step(ended(0), NOW);
        assert_eq!(entry.machine.state(), UnitState::Scheduled);
        let mut entry = running("restart = \"never\"");
        entry.unit = document("[timer]\nevery_s = 60");
        submit(&mut entry, "restart = \"never\"");
        entry.step(ended(0), NOW);
        assert_eq!(entry.machine.state(), UnitState::Exited);
    }

    #[test]
    fn an_image_that_comes_for_a_later_start_is_no_start() {
        let mut entry = running(POST_STOP);
        submit(&mut entry, "");
        // `ferrite unit load`
        assert_eq!(entry.step(Event::Pulled, NOW), []);
        assert_eq!(entry.lives_by().post_stop.len(), 1);
        assert_ne!(entry.launched.as_ref(), Some(&entry.unit));
    }
}
