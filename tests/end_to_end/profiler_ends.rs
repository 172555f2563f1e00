//! How a session that samples ends.

use crate::profiler::frequency;
use crate::programs;
use crate::runner::{Outcome, Setup, skip, tests};
use crate::stacks::Known;
use pixie::record::{Cause, Lost, Stage};
use pixie::{Error, Interest, Profiling, Record, RecordKind, Sink as _, Tracer};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

tests! {
    once: a_session_without_time_to_name_says_what_it_does_not_tell;
}

/// Everything that was sampled is still to be named when the session stops, and there is no time left for it:
/// so no name is waited for, however large the files are that have it.
fn a_session_without_time_to_name_says_what_it_does_not_tell(setup: &Setup) -> Outcome {
    let known = Known::start("chain", programs::ours("stacks")?.arg("chain"))?;
    let (stacks, lost) = (Arc::new(Mutex::new(0_u64)), Arc::new(Mutex::new(Vec::<Lost>::new())));
    let (counted, noted) = (Arc::clone(&stacks), Arc::clone(&lost));
    let sink = pixie::sinks::each(move |record: &Record| match record {
        Record::Lost(lost) => {
            noted.lock().unwrap_or_else(PoisonError::into_inner).push((**lost).clone());
        }
        _ => *counted.lock().unwrap_or_else(PoisonError::into_inner) += 1,
    });
    let sink = sink.only(Interest::none().with(RecordKind::Stack).with(RecordKind::Lost));
    let profiling = Profiling::new(frequency(setup)).interval(Duration::from_secs(3600));
    let tracer = Tracer::new().pid(known.pid()).profiler(profiling).stop_timeout(Duration::ZERO);
    let session = tracer.sink(sink).start().unwrap();
    let wait = |condition: &dyn Fn() -> bool| {
        let (began, limit) = (Instant::now(), setup.patience(Duration::from_secs(60)));
        while !condition() && began.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(20));
        }
        condition()
    };
    assert!(wait(&|| session.stats().profile.samples > 20), "nothing is sampled");
    let stats = match session.stop() {
        Ok(stats) => stats,
        // To detach is bounded too, by a second more than that.
        Err(Error::StopTimedOut(_)) => skip!("this machine takes longer than a second to detach"),
        Err(error) => panic!("{error}"),
    };
    let profile = &stats.profile;
    assert_eq!(profile.samples, profile.passed_over + profile.dropped, "{stats}");
    assert!(profile.passed_over > 20 && profile.records == 0, "{stats}");
    // The sink had no time either, but goes on.
    let told = || -> u64 {
        let lost = lost.lock().unwrap_or_else(PoisonError::into_inner);
        let late = |lost: &&Lost| (lost.stage, lost.cause) == (Stage::Sampler, Cause::StopTimeout);
        lost.iter().filter(late).map(|lost| lost.count).sum()
    };
    assert!(wait(&|| told() > 0), "not told in-band");
    assert_eq!(told(), profile.passed_over);
    assert_eq!(*stacks.lock().unwrap_or_else(PoisonError::into_inner), 0, "stacks");
    Ok(())
}
