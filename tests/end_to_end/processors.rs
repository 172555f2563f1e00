//! Processors that are switched off and on while they are traced.

use crate::encrypted::peers;
use crate::profiler::frequency;
use crate::programs;
use crate::runner::{Outcome, Setup, Skip, skip, tests};
use crate::stacks::{Known, Sampling};
use pixie::Tracer;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;
use std::path::Path;
use std::time::Duration;

tests! {
    once: are_sampled, tell_of_their_processes;
}

/// The second processor. In the end it is on.
struct Second;

impl Second {
    const SWITCH: &str = "/sys/devices/system/cpu/cpu1/online";

    /// Switches it off.
    fn off(setup: &Setup) -> Result<Self, Skip> {
        if setup.slow == 1 {
            skip!("processors are only switched on a machine of one's own: `cargo xtask vm`");
        }
        if !Path::new(Self::SWITCH).exists() {
            skip!("there is no second processor that could be switched off");
        }
        let second = Self;
        second.set(false);
        Ok(second)
    }

    fn set(&self, online: bool) {
        fs::write(Self::SWITCH, if online { "1" } else { "0" }).expect("it can be switched");
    }

    /// Has a process run there alone, or this thread.
    fn confine(&self, pid: Option<Pid>) {
        let mut second = CpuSet::new();
        second.set(1);
        sched_setaffinity(pid, &second).expect("it is on");
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.set(true);
    }
}

/// One that was off when sampling began is sampled when it comes, also when it goes and comes back within
/// a moment; and when it is gone, those that are left go on.
fn are_sampled(setup: &Setup) -> Outcome {
    let second = Second::off(setup)?;
    let known = Known::start("on the second", programs::ours("stacks")?.arg("chain"))?;
    let pid = Pid::from_raw(known.pid().cast_signed());
    let tracer = Tracer::new().pid(known.pid()).profiler(frequency(setup));
    let patience = setup.patience(Duration::from_secs(20));
    let sampling = Sampling::of(tracer.stop_timeout(patience));
    // In the interval that is under way, some are still of the first.
    let many = 4 * u64::from(frequency(setup));
    for moment in ["it has come", "it has been gone for a moment"] {
        second.set(true);
        second.confine(pid);
        let before = sampling.count(&|_| true);
        assert!(sampling.wait_for(before + many, &|_| true, patience), "{moment}");
        // The kernel lets the program run elsewhere then.
        second.set(false);
    }
    let before = sampling.count(&|_| true);
    let sampled = sampling.until(before + many, patience);
    known.judge(sampled.of(known.pid())).expect("on either processor", before + many, 990);
    Ok(())
}

/// What is started there has its libraries probed, though perf was asked to tell of the first alone.
fn tell_of_their_processes(setup: &Setup) -> Outcome {
    let second = Second::off(setup)?;
    let watch = setup.watch_tls(crate::servers::free_port());
    second.set(true);
    let before = sched_getaffinity(None).expect("where this thread may run");
    // Until it is noticed, all processes are looked at anyway.
    std::thread::sleep(Duration::from_secs(5));
    second.confine(None);
    let server = peers::nginx(setup, None);
    sched_setaffinity(None, &before).expect("the same again");
    let server = server?;
    watch.wait_until_probed(setup, server.pid());
    watch.stop_after(0);
    Ok(())
}
