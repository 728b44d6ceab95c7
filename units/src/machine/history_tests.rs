//! Any history of a unit, in a world of supervisor and shims.

use ferrite_schema::api::UnitState;

use super::tests::{BOOTED, HEALTH, POLICY, clean, dirty, fail, hold, started, stop, unpulled};
use super::*;

/// What a supervisor and its shims do, as far as it matters to a machine.
#[derive(Default)]
struct World {
    containers: u32,
    pulling: bool,
    timer: Option<Moment>,
}

impl World {
    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Launch(_) => self.containers += 1,
                Effect::Pull => self.pulling = true,
                Effect::CancelPull => self.pulling = false,
                Effect::SetTimer(moment) => self.timer = Some(moment),
                Effect::ClearTimer => self.timer = None,
                Effect::Await
                | Effect::Signal
                | Effect::Kill
                | Effect::KillShim
                | Effect::Check
                | Effect::Schedule
                | Effect::Fired
                | Effect::Release => {}
            }
        }
    }

    /// The event that this choice means, where the world allows it.
    fn event(&mut self, choice: u8) -> Option<Event> {
        let container = self.containers > 0;
        let event = match choice {
            0 => Event::Start,
            1 => stop(),
            2 => hold(),
            3 => Event::Met,
            4 if self.pulling => Event::Pulled,
            5 if self.pulling => unpulled(),
            6 if container => started(),
            7 if container => fail(),
            8 if container => clean(),
            9 if container => dirty(),
            10 if container => Event::Lost,
            11 => Event::Checked(Ok(())),
            12 => Event::Checked(Err("no".to_owned())),
            13 => Event::Deadline,
            15 => Event::OtherImage,
            16 => Event::Unchecked { why: "no process".to_owned() },
            14 if self.pulling => {
                Event::PullFailed { reason: "no route".to_owned(), may_pass: true }
            }
            _ => return None,
        };
        match event {
            Event::Pulled | Event::PullFailed { .. } => self.pulling = false,
            Event::StartFailed { .. } | Event::Ended(_) | Event::Lost => self.containers -= 1,
            Event::Start
            | Event::Stop { .. }
            | Event::Met
            | Event::Hold { .. }
            | Event::Note { .. }
            | Event::Started { .. }
            | Event::Checked(_)
            | Event::Unchecked { .. }
            | Event::OtherImage
            | Event::Deadline => {}
        }
        Some(event)
    }
}

fn policies() -> impl proptest::strategy::Strategy<Value = Policy> {
    use proptest::prelude::*;
    let restart = prop_oneof![
        Just(RestartPolicy::Always),
        Just(RestartPolicy::OnFailure),
        Just(RestartPolicy::Never)
    ];
    (restart, any::<[bool; 3]>(), 0..3_usize, 0..3_usize, proptest::option::of(1..4_usize))
        .prop_map(|(restart, [oneshot, timer, checked], pre_start, post_stop, starts)| Policy {
            restart,
            oneshot,
            timer,
            limit: starts.map(|starts| (starts, None)),
            pre_start,
            post_stop,
            health: checked.then_some(HEALTH),
            ..POLICY
        })
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

    /// Whatever happens, there is never a second container; a life that is written down and read goes on as it
    /// would have; and a stop always leads to rest.
    #[test]
    fn any_history_can_be_stopped(
        policy in policies(),
        choices in proptest::collection::vec(0_u8..17, 0..80),
    ) {
        let (mut machine, mut world, mut now) = (Machine::new(policy), World::default(), BOOTED);
        for choice in choices {
            now += Duration::from_secs(1);
            let Some(event) = world.event(choice) else { continue };
            let text = serde_json::to_string(machine.life()).unwrap();
            let mut successor = Machine::of_life(policy, serde_json::from_str(&text).unwrap());
            let effects = machine.step(event.clone(), now);
            proptest::prop_assert_eq!(successor.step(event, now), effects.clone());
            proptest::prop_assert_eq!(successor.life(), machine.life());
            world.take(effects);
            proptest::prop_assert!(world.containers <= 1);
            proptest::prop_assert_eq!(world.containers == 1, machine.is_alive());
            proptest::prop_assert_eq!(world.pulling, machine.state() == UnitState::Pulling);
            if machine.state() == UnitState::BackingOff || machine.state() == UnitState::Stopping {
                proptest::prop_assert!(world.timer.is_some(), "it would never go on");
            }
        }
        let effects = machine.step(stop(), now);
        world.take(effects);
        // Its container, and each of its commands after it.
        for _ in 0..=policy.post_stop {
            if world.containers > 0 {
                world.containers -= 1;
                let effects = machine.step(Event::Lost, now);
                world.take(effects);
            }
        }
        proptest::prop_assert_eq!(machine.state(), UnitState::Loaded);
        proptest::prop_assert_eq!(world.containers, 0);
    }
}
