use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::*;
use proptest::prelude::*;

#[expect(
    clippy::disallowed_methods,
    reason = "any instant serves as the epoch of a test"
)]
fn epoch() -> Instant {
    Instant::now()
}

const REST: Duration = Duration::from_secs(30);

struct Fixture {
    breaker: Breaker,
    settings: Settings,
    now: Instant,
}

impl Fixture {
    fn new(settings: Settings) -> Self {
        let now = epoch();
        Self {
            breaker: Breaker::new(now),
            settings,
            now,
        }
    }

    fn admit(&self) -> Option<Permit> {
        self.breaker
            .admit(&self.settings, self.now)
            .map(|admitted| admitted.permit)
    }

    fn record(&self, permit: Permit, outcome: Outcome) -> Option<State> {
        self.breaker
            .record(permit, outcome, &self.settings, self.now)
            .map(|transition| transition.to)
    }

    fn attempt(&self, outcome: Outcome) -> Option<State> {
        self.record(self.admit().expect("admitted"), outcome)
    }

    /// Opens it at its present time.
    fn opened(settings: Settings) -> Self {
        let fixture = Self::new(settings);
        for _ in 1..fixture.settings.failure_threshold {
            assert_eq!(fixture.attempt(Outcome::Failure), None);
        }
        assert_eq!(fixture.attempt(Outcome::Failure), Some(State::Open));
        fixture
    }
}

#[test]
fn it_opens_after_failures_in_a_row_and_a_success_ends_the_row() {
    let fixture = Fixture::new(Settings::default());
    for _ in 0..4 {
        assert_eq!(fixture.attempt(Outcome::Failure), None);
    }
    assert_eq!(fixture.breaker.consecutive_failures(), 4);
    fixture.attempt(Outcome::Success);
    for _ in 0..4 {
        assert_eq!(fixture.attempt(Outcome::Failure), None);
    }
    fixture.attempt(Outcome::Excused);
    assert_eq!(fixture.attempt(Outcome::Failure), Some(State::Open));
    assert_eq!(fixture.breaker.state(), State::Open);
}

#[test]
fn a_rest_that_is_ended_lets_one_trial_in_and_closes_nothing() {
    let mut fixture = Fixture::opened(Settings::default());
    fixture.now += Duration::from_secs(1);
    assert!(fixture.admit().is_none());
    fixture.breaker.end_rest(fixture.now);
    assert!(fixture.breaker.is_admissible(fixture.now));
    assert_eq!(fixture.breaker.state(), State::Open);
    let trial = fixture.admit().expect("its rest is over");
    assert!(fixture.admit().is_none(), "one trial at a time");
    // The trial fails: it rests for as long as ever, and only then.
    assert_eq!(fixture.record(trial, Outcome::Failure), Some(State::Open));
    assert_eq!(fixture.breaker.retry_at(), Some(fixture.now + REST));
    // Elsewhere it is not to be noticed.
    let closed = Fixture::new(Settings::default());
    closed.breaker.end_rest(closed.now);
    assert_eq!(closed.breaker.state(), State::Closed);
    assert!(closed.admit().is_some_and(|permit| !permit.is_trial()));
}

#[test]
fn thirty_failures_in_flight_open_it_once_and_lengthen_nothing() {
    let mut fixture = Fixture::new(Settings::default());
    let permits: Vec<Permit> = (0..30).filter_map(|_| fixture.admit()).collect();
    let start = fixture.now;
    let mut opened = 0;
    for permit in permits {
        fixture.now += Duration::from_millis(100);
        opened += usize::from(fixture.record(permit, Outcome::Failure).is_some());
    }
    assert_eq!(opened, 1);
    assert_eq!(
        fixture.breaker.retry_at(),
        Some(start + Duration::from_millis(500) + REST)
    );
}

#[test]
fn an_open_one_admits_nobody_until_the_timeout_and_then_one_trial_at_a_time() {
    let mut fixture = Fixture::opened(Settings::default());
    fixture.now += REST - Duration::from_nanos(1);
    assert!(!fixture.breaker.is_admissible(fixture.now));
    assert_eq!(fixture.admit(), None);
    fixture.now += Duration::from_nanos(1);
    assert!(fixture.breaker.is_admissible(fixture.now));
    let admitted = fixture.breaker.admit(&fixture.settings, fixture.now).unwrap();
    assert_eq!(
        admitted.transition,
        Some(Transition {
            from: State::Open,
            to: State::HalfOpen
        })
    );
    assert!(admitted.permit.is_trial());
    assert!(!fixture.breaker.is_admissible(fixture.now));
    assert_eq!(fixture.admit(), None, "the only trial is under way");
    assert_eq!(fixture.record(admitted.permit, Outcome::Success), None);
    assert_eq!(fixture.attempt(Outcome::Success), None);
    assert_eq!(fixture.attempt(Outcome::Success), Some(State::Closed));
    assert!(!fixture.admit().unwrap().is_trial());
}

#[test]
fn a_failed_trial_opens_it_for_another_whole_timeout() {
    let mut fixture = Fixture::opened(Settings {
        half_open_max: 3,
        ..Settings::default()
    });
    fixture.now += REST;
    let (one, two, three) = (
        fixture.admit().unwrap(),
        fixture.admit().unwrap(),
        fixture.admit().unwrap(),
    );
    assert_eq!(fixture.admit(), None);
    assert_eq!(fixture.record(one, Outcome::Success), None);
    assert_eq!(fixture.record(two, Outcome::Failure), Some(State::Open));
    let until = fixture.now + REST;
    fixture.now += Duration::from_secs(1);
    assert_eq!(
        fixture.record(three, Outcome::Failure),
        None,
        "of the generation before"
    );
    assert_eq!(fixture.breaker.retry_at(), Some(until));
    fixture.now = until;
    fixture.attempt(Outcome::Success);
    assert_eq!(
        fixture.breaker.state(),
        State::HalfOpen,
        "successes of earlier trials are forgotten"
    );
}

#[test]
fn an_excused_trial_gives_its_place_back_and_changes_nothing() {
    let mut fixture = Fixture::opened(Settings::default());
    fixture.now += REST;
    for _ in 0..10 {
        assert_eq!(fixture.attempt(Outcome::Excused), None);
    }
    assert_eq!(fixture.breaker.state(), State::HalfOpen);
}

#[test]
fn a_late_result_from_before_the_opening_neither_closes_nor_spoils_a_trial() {
    for outcome in [Outcome::Success, Outcome::Failure] {
        let mut fixture = Fixture::new(Settings {
            success_threshold: 1,
            ..Settings::default()
        });
        let late = fixture.admit().unwrap();
        (0..5).for_each(|_| _ = fixture.attempt(Outcome::Failure));
        fixture.now += REST;
        let trial = fixture.admit().unwrap();
        assert_eq!(fixture.record(late, outcome), None);
        assert_eq!(fixture.breaker.state(), State::HalfOpen);
        assert_eq!(fixture.record(trial, Outcome::Success), Some(State::Closed));
    }
}

#[test]
fn a_forced_attempt_can_end_the_rest_but_not_lengthen_it() {
    let mut fixture = Fixture::opened(Settings::default());
    let until = fixture.breaker.retry_at();
    fixture.now += Duration::from_secs(5);
    assert_eq!(fixture.record(fixture.breaker.force(), Outcome::Failure), None);
    assert_eq!(fixture.breaker.retry_at(), until);
    assert_eq!(
        fixture.record(fixture.breaker.force(), Outcome::Success),
        Some(State::HalfOpen)
    );
    assert_eq!(fixture.record(fixture.breaker.force(), Outcome::Failure), None);
    assert_eq!(fixture.record(fixture.breaker.force(), Outcome::Success), None);
    assert_eq!(
        fixture.record(fixture.breaker.force(), Outcome::Success),
        Some(State::Closed)
    );
    let fixture = Fixture::opened(Settings {
        success_threshold: 1,
        ..Settings::default()
    });
    let moved = fixture.breaker.record(
        fixture.breaker.force(),
        Outcome::Success,
        &fixture.settings,
        fixture.now,
    );
    assert_eq!(
        moved,
        Some(Transition {
            from: State::Open,
            to: State::Closed
        })
    );
}

#[test]
fn switched_off_it_admits_everything_and_records_nothing() {
    let mut fixture = Fixture::opened(Settings::default());
    fixture.now += REST;
    let trial = fixture.admit().unwrap();
    fixture.settings.enabled = false;
    (0..20).for_each(|_| assert_eq!(fixture.attempt(Outcome::Failure), None));
    assert_eq!(fixture.record(trial, Outcome::Failure), None);
    assert!(
        fixture.breaker.is_admissible(fixture.now),
        "the trial's place is free again"
    );
    assert_eq!(
        fixture.breaker.reset(),
        Some(Transition {
            from: State::HalfOpen,
            to: State::Closed
        })
    );
    assert_eq!(fixture.breaker.reset(), None);
}

#[test]
fn a_dropped_guard_gives_its_trial_back_and_an_attempt_counts_once() {
    let mut fixture = Fixture::opened(Settings::default());
    fixture.now += REST;
    let breaker = Arc::new(fixture.breaker);
    let (guard, moved) = Guard::admit(Arc::clone(&breaker), fixture.settings, fixture.now).unwrap();
    assert!(guard.is_trial() && moved.is_some());
    assert!(!breaker.is_admissible(fixture.now));
    drop(guard);
    let (mut guard, _) = Guard::admit(&*breaker, fixture.settings, fixture.now).unwrap();
    assert!(guard.record(Outcome::Failure, fixture.now).is_some());
    assert_eq!(guard.record(Outcome::Failure, fixture.now), None);
    drop(guard);
    let mut guard = Guard::force(&*breaker, fixture.settings);
    assert_eq!(
        guard.record(Outcome::Success, fixture.now).unwrap().to,
        State::HalfOpen
    );
}

#[test]
fn a_threshold_of_zero_and_an_endless_timeout_are_taken_as_meant() {
    let settings = Settings {
        failure_threshold: 0,
        success_threshold: 0,
        half_open_max: 0,
        timeout: Duration::MAX,
        enabled: true,
    };
    let mut fixture = Fixture::new(settings);
    assert_eq!(fixture.attempt(Outcome::Failure), Some(State::Open));
    fixture.now += Duration::from_secs(1 << 32);
    assert_eq!(fixture.admit(), None);
}

#[test]
fn threads_never_hold_more_trials_than_allowed_and_leave_none_behind() {
    let mut fixture = Fixture::opened(Settings {
        half_open_max: 2,
        success_threshold: 1_000_000,
        ..Settings::default()
    });
    fixture.now += REST;
    let (fixture, trials) = (&fixture, &AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..5_000 {
                    let Some(permit) = fixture.admit() else { continue };
                    assert!(trials.fetch_add(1, Ordering::SeqCst) < 2);
                    let outcome = if turn % 2 == 0 {
                        Outcome::Success
                    } else {
                        Outcome::Excused
                    };
                    trials.fetch_sub(1, Ordering::SeqCst);
                    fixture.record(permit, outcome);
                }
            });
        }
    });
    let permits: Vec<Permit> = std::iter::from_fn(|| fixture.admit()).take(3).collect();
    assert_eq!(permits.len(), 2);
}

#[derive(Debug, Clone)]
enum Step {
    Admit,
    Force,
    /// Which of the permits in hand gives its place back before it is recorded.
    Vacate(usize),
    /// Which of the permits in hand is recorded, and how.
    Record(usize, Outcome),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        Just(Outcome::Success),
        Just(Outcome::Failure),
        Just(Outcome::Failure),
        Just(Outcome::Excused)
    ];
    prop_oneof![
        3 => Just(Step::Admit),
        1 => Just(Step::Force),
        1 => any::<usize>().prop_map(Step::Vacate),
        4 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Step::Record(which, outcome)),
        1 => (0u64..40).prop_map(Step::Pass),
    ]
}

/// The breaker as one would tell it: permits know the moment they were given, and nothing is packed.
struct Model {
    state: State,
    changes: u32,
    streak: u32,
    trials: u32,
    opened: u64,
}

impl Model {
    fn to(&mut self, state: State, now: u64) {
        *self = Self {
            state,
            changes: self.changes + 1,
            streak: 0,
            trials: 0,
            opened: now,
        };
    }

    /// Whether an attempt is admitted, and as a trial.
    fn admit(&mut self, settings: &Settings, now: u64) -> Option<bool> {
        if self.state == State::Open && now - self.opened >= settings.timeout.as_secs() {
            self.to(State::HalfOpen, now);
        }
        match self.state {
            State::Closed => Some(false),
            State::HalfOpen if self.trials < settings.half_open_max => {
                self.trials += 1;
                Some(true)
            }
            State::HalfOpen | State::Open => None,
        }
    }

    fn record(&mut self, trial: bool, forced: bool, outcome: Outcome, settings: &Settings, now: u64) {
        self.trials -= u32::from(trial);
        match (self.state, outcome) {
            (_, Outcome::Excused) => {}
            (State::Closed, Outcome::Success) => self.streak = 0,
            (State::Closed, Outcome::Failure) => {
                self.streak += 1;
                if self.streak >= settings.failure_threshold {
                    self.to(State::Open, now);
                }
            }
            (State::Open | State::HalfOpen, Outcome::Failure) => {
                if !forced {
                    self.to(State::Open, now);
                }
            }
            (State::Open | State::HalfOpen, Outcome::Success) => {
                if self.state == State::Open {
                    self.to(State::HalfOpen, now);
                }
                self.streak += 1;
                if self.streak >= settings.success_threshold {
                    self.to(State::Closed, now);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn it_agrees_with_a_simple_model(
        failure_threshold in 1u32..5,
        success_threshold in 1u32..4,
        half_open_max in 1u32..4,
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let settings = Settings { enabled: true, failure_threshold, success_threshold, half_open_max, timeout: REST };
        let mut fixture = Fixture::new(settings);
        let (start, mut hand) = (fixture.now, Vec::new());
        let mut model = Model { state: State::Closed, changes: 0, streak: 0, trials: 0, opened: 0 };
        for step in steps {
            let now = (fixture.now - start).as_secs();
            match step {
                Step::Admit => {
                    let admissible = fixture.breaker.is_admissible(fixture.now);
                    let admitted = fixture.admit();
                    prop_assert_eq!(admissible, admitted.is_some());
                    let expected = model.admit(&settings, now);
                    prop_assert_eq!(admitted.as_ref().map(Permit::is_trial), expected);
                    hand.extend(admitted.map(|permit| (permit, model.changes, false)));
                }
                Step::Force => hand.push((fixture.breaker.force(), model.changes, true)),
                Step::Record(which, outcome) if !hand.is_empty() => {
                    let (permit, given, forced) = hand.swap_remove(which % hand.len());
                    let (trial, before) = (permit.is_trial(), model.state);
                    let moved = fixture.record(permit, outcome);
                    if given == model.changes {
                        model.record(trial, forced, outcome, &settings, now);
                    }
                    prop_assert_eq!(moved, (before != model.state).then_some(model.state));
                }
                Step::Vacate(which) if !hand.is_empty() => {
                    let at = which % hand.len();
                    let (permit, given, _) = &mut hand[at];
                    model.trials -= u32::from(permit.is_trial() && *given == model.changes);
                    fixture.breaker.vacate(permit, &settings);
                    prop_assert!(!permit.is_trial());
                }
                Step::Vacate(_) | Step::Record(..) => {}
                Step::Pass(seconds) => fixture.now += Duration::from_secs(seconds),
            }
            prop_assert_eq!(fixture.breaker.state(), model.state);
        }
    }
}
