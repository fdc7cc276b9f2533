use super::*;
use proptest::prelude::*;

#[expect(
    clippy::disallowed_methods,
    reason = "any instant serves as the epoch of a test"
)]
fn epoch() -> Instant {
    Instant::now()
}

const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

proptest! {
    #[test]
    fn latency_stays_between_its_samples_and_reaches_a_steady_one(
        samples in proptest::collection::vec(1u64..10_000_000, 1..50),
        steady in 1u64..10_000_000,
    ) {
        let latency = Latency::default();
        prop_assert_eq!(latency.get(), None);
        let (mut low, mut high) = (u64::MAX, 0);
        for sample in samples {
            latency.observe(us(sample));
            (low, high) = (low.min(sample), high.max(sample));
            prop_assert!((low..=high).contains(&latency.micros().into()));
        }
        for _ in 0..200 {
            latency.observe(us(steady));
        }
        prop_assert_eq!(latency.get(), Some(us(steady)));
    }

    #[test]
    fn success_follows_the_recurrence_of_its_definition(results in proptest::collection::vec(any::<bool>(), 0..200)) {
        let success = Success::default();
        let mut model = 1.0f64;
        for ok in results {
            success.observe(ok);
            model += (f64::from(u8::from(ok)) - model) / 16.0;
            prop_assert!((f64::from(success.permille()) / 1000.0 - model).abs() < 0.002, "{} {model}", success.permille());
        }
    }

    #[test]
    fn a_peak_follows_the_recurrence_of_its_definition(
        samples in proptest::collection::vec((0u64..20_000_000, 1u64..5_000_000), 1..60),
    ) {
        let epoch = epoch();
        let peak = PeakLatency::new(epoch);
        let (mut model, mut now) = (0.0f64, epoch);
        prop_assert_eq!(peak.micros(now), 0);
        for (pause, sample) in samples {
            now += us(pause);
            let left = (-us(pause).as_secs_f64() / PeakLatency::DECAY.as_secs_f64()).exp();
            let sample_us = sample as f64;
            model = if sample_us >= model { sample_us } else { sample_us + (model - sample_us) * left };
            peak.observe(us(sample), now);
            let got = f64::from(peak.micros(now));
            prop_assert!((got - model).abs() <= model.mul_add(0.002, 60.0), "{got} {model}");
        }
    }
}

#[test]
fn samples_out_of_range_are_held_at_its_ends() {
    let latency = Latency::default();
    latency.observe(Duration::ZERO);
    assert_eq!(latency.micros(), 1, "zero would mean unknown");
    let latency = Latency::default();
    latency.observe(Duration::MAX);
    latency.observe(Duration::MAX);
    assert_eq!(latency.micros(), u32::MAX);
}

#[test]
fn a_peak_is_believed_at_once_and_fades_while_nobody_looks() {
    let epoch = epoch();
    let peak = PeakLatency::new(epoch);
    peak.observe(us(1_000), epoch);
    peak.observe(us(900_000), epoch);
    assert_eq!(peak.micros(epoch), 900_000);
    let faded = peak.micros(epoch + PeakLatency::DECAY);
    assert!((331_000..=331_200).contains(&faded), "{faded}");
    assert_eq!(
        peak.micros(epoch + Duration::from_secs(3600)),
        1,
        "known stays known"
    );
}

#[test]
fn no_sample_is_lost_between_threads() {
    let success = Success::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| success.observe(false)));
        }
    });
    assert_eq!(success.permille(), 0);
}
