//! Kernel lockdown. It cannot be lifted but by a boot, so these come last, and on a machine that may
//! be spoiled.

use crate::agent::Agent;
use crate::expect::mentions;
use crate::process;
use crate::programs::command;
use crate::runner::{Outcome, Setup, skip, tests};
use std::fs;
use std::path::Path;

tests! {
    once: integrity_is_no_obstacle, confidentiality_is_told;
}

const STATE: &str = "/sys/kernel/security/lockdown";

/// Raises the level of lockdown, where that may be done.
fn lock_down(level: &str) -> Outcome {
    let wanted = format!("[{level}]");
    let state = || fs::read_to_string(STATE).unwrap_or_default();
    if state().contains(&wanted) {
        return Ok(());
    }
    if std::env::var_os("PIXIE_TEST_DISPOSABLE").is_none() {
        skip!("lockdown lasts until the next boot: PIXIE_TEST_DISPOSABLE=1 allows it");
    }
    if !Path::new(STATE).exists() {
        process::output(command("mount")?.args([
            "-t",
            "securityfs",
            "none",
            "/sys/kernel/security",
        ]));
    }
    if let Err(error) = fs::write(STATE, level) {
        skip!("lockdown={level} is refused: {error}");
    }
    assert!(state().contains(&wanted), "lockdown is {}", state());
    Ok(())
}

fn integrity_is_no_obstacle(setup: &Setup) -> Outcome {
    lock_down("integrity")?;
    if let Err(error) = Agent::start(&mut Agent::command(setup, None)) {
        panic!("lockdown=integrity allows tracing, but: {error}");
    }
    Ok(())
}

fn confidentiality_is_told(setup: &Setup) -> Outcome {
    lock_down("confidentiality")?;
    let Err(error) = Agent::start(&mut Agent::command(setup, None)) else {
        panic!("it traces in spite of lockdown")
    };
    mentions(&error, &["lockdown"]);
    Ok(())
}
