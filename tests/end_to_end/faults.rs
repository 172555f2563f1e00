//! What the kernel refuses, and agents that are killed.

use crate::agent::Agent;
use crate::backends;
use crate::expect::mentions;
use crate::process::{self, wait_for};
use crate::programs::{Facts, command, ours};
use crate::runner::{Outcome, Setup, Skip, skip, tests};
use crate::servers::free_port;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

tests! {
    core: a_killed_agent_leaves_nothing, no_tracefs;
    once: an_agent_ends_in_order, no_privileges, no_capability_for_bpf, no_capability_for_perfmon,
        three_capabilities_suffice, no_type_information, no_memory_to_lock, a_kernel_that_is_too_old;
}

fn an_agent_ends_in_order(setup: &Setup) -> Outcome {
    let port = free_port();
    let mut program = ours("exchange")?;
    program.args(["-p", &port.to_string(), "-n", "10"]);
    let mut agent = Agent::start(&mut Agent::command(setup, Some(port))).expect("it traces");
    Facts::of(&mut program)?;
    wait_for("records of all requests", setup.patience(Duration::from_secs(5)), || {
        (agent.ask().0 == 20).then_some(())
    });
    let facts: Facts = agent.0.succeed().into_iter().collect();
    assert_eq!((facts.one::<u64>("records"), facts.one::<u64>("dropped")), (20, 0));
    Ok(())
}

/// What a process holds of the kernel's BPF: kind (`prog`, `map`, `link`) and id.
fn held(pid: u32) -> BTreeSet<(&'static str, u64)> {
    let mut held = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("it is running") {
        let text = fs::read_to_string(entry.expect("an entry").path()).unwrap_or_default();
        for kind in ["prog", "map", "link"] {
            let id = text.lines().find_map(|line| {
                line.strip_prefix(kind)?.strip_prefix("_id:")?.trim().parse().ok()
            });
            held.extend(id.map(|id| (kind, id)));
        }
    }
    held
}

fn a_killed_agent_leaves_nothing(setup: &Setup) -> Outcome {
    let bpftool = command("bpftool")?;
    let exists = |kind: &str, id: u64| {
        let mut show = Command::new(bpftool.get_program());
        process::output(show.args([kind, "show", "id", &id.to_string()])).status.success()
    };
    let agent = Agent::start(&mut Agent::command(setup, None)).expect("it traces");
    let held = held(agent.0.pid());
    for kind in ["prog", "map"] {
        assert!(held.iter().any(|(other, _)| *other == kind), "no {kind} in {held:?}");
    }
    assert!(held.iter().all(|(kind, id)| exists(kind, *id)), "bpftool knows all of {held:?}");
    agent.0.signal(Signal::KILL);
    let (status, _) = agent.0.end();
    assert!(!status.success());
    // The kernel frees them a moment after the last reference is gone.
    wait_for("end of all that it held", setup.patience(Duration::from_secs(10)), || {
        held.iter().all(|(kind, id)| !exists(kind, *id)).then_some(())
    });
    Ok(())
}

/// The error of an agent that is run by these words, which must be one that helps.
fn refusal(setup: &Setup, prefix: &mut Command) -> String {
    let agent = Agent::command(setup, None);
    prefix.arg(agent.get_program()).args(agent.get_args());
    match Agent::start(prefix) {
        Ok(_) => panic!("{prefix:?} traces all the same"),
        Err(error) => error,
    }
}

fn no_privileges(setup: &Setup) -> Outcome {
    let setpriv = command("setpriv")?;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where nobody may read it.
    let copy = folder.path().join("end_to_end");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let agent = Agent::command_of(copy.as_os_str(), setup, None);
    let mut nobody = Command::new(setpriv.get_program());
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]);
    nobody.arg(agent.get_program()).args(agent.get_args());
    let Err(error) = Agent::start(&mut nobody) else { panic!("nobody may trace") };
    mentions(&error, &["CAP_BPF"]);
    mentions(&error, &["root", "sudo"]);
    Ok(())
}

/// Root without these capabilities.
fn without(capabilities: &[&str]) -> Result<Command, Skip> {
    let mut setpriv = command("setpriv")?;
    let set: Vec<_> = capabilities.iter().map(|name| format!("-{name}")).collect();
    setpriv.arg("--bounding-set").arg(set.join(","));
    Ok(setpriv)
}

fn no_capability_for_bpf(setup: &Setup) -> Outcome {
    let error = refusal(setup, &mut without(&["sys_admin", "bpf"])?);
    mentions(&error, &["CAP_BPF"]);
    Ok(())
}

fn no_capability_for_perfmon(setup: &Setup) -> Outcome {
    let error = refusal(setup, &mut without(&["sys_admin", "perfmon"])?);
    mentions(&error, &["CAP_PERFMON"]);
    Ok(())
}

fn three_capabilities_suffice(setup: &Setup) -> Outcome {
    let mut setpriv = command("setpriv")?;
    setpriv.args(["--bounding-set", "-all,+bpf,+perfmon,+sys_resource"]);
    let agent = Agent::command(setup, None);
    setpriv.arg(agent.get_program()).args(agent.get_args());
    if let Err(error) = Agent::start(&mut setpriv) {
        panic!("CAP_BPF, CAP_PERFMON and CAP_SYS_RESOURCE are not enough: {error}");
    }
    Ok(())
}

/// A shell with mounts of its own that does this first.
fn after(mounts: &str) -> Result<Command, Skip> {
    let mut unshare = command("unshare")?;
    let script = format!(r#"{mounts} && exec "$@""#);
    unshare.args(["--mount", "sh", "-c", &script, "sh"]);
    Ok(unshare)
}

fn no_type_information(setup: &Setup) -> Outcome {
    let hide = "mount -t tmpfs none /sys/kernel/btf";
    let error = refusal(setup, &mut after(hide)?);
    mentions(&error, &["BTF", "CONFIG_DEBUG_INFO_BTF"]);
    Ok(())
}

fn no_tracefs(setup: &Setup) -> Outcome {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("a list of mounts");
    let mounted = |path: &str| mounts.lines().any(|line| line.split(' ').nth(1) == Some(path));
    let places = ["/sys/kernel/debug/tracing", "/sys/kernel/tracing"];
    let hide: String = places
        .iter()
        .filter(|place| mounted(place))
        .map(|place| format!("mount -t tmpfs none {place} && "))
        .collect();
    let mut shell = after(&(hide + "test ! -e /sys/kernel/tracing/events"))?;
    let agent = Agent::command(setup, None);
    shell.arg(agent.get_program()).args(agent.get_args());
    if let Err(error) = Agent::start(&mut shell) {
        mentions(&error, &["tracefs"]);
    }
    Ok(())
}

/// Since 5.11 the kernel charges BPF to the cgroup, and the limit does not matter.
fn no_memory_to_lock(setup: &Setup) -> Outcome {
    let mut prlimit = command("prlimit")?;
    let setpriv = without(&["sys_resource"])?;
    prlimit.arg("--memlock=0:0").arg(setpriv.get_program()).args(setpriv.get_args());
    if backends::kernel() < (5, 11) {
        mentions(&refusal(setup, &mut prlimit), &["RLIMIT_MEMLOCK"]);
        return Ok(());
    }
    let agent = Agent::command(setup, None);
    prlimit.arg(agent.get_program()).args(agent.get_args());
    if let Err(error) = Agent::start(&mut prlimit) {
        panic!("this kernel does not ask for RLIMIT_MEMLOCK: {error}");
    }
    Ok(())
}

fn a_kernel_that_is_too_old(setup: &Setup) -> Outcome {
    let (major, minor) = backends::kernel();
    if (major, minor) >= (5, 8) {
        skip!("Linux {major}.{minor} is not too old");
    }
    let Err(error) = Agent::start(&mut Agent::command(setup, None)) else {
        panic!("it traces on Linux {major}.{minor}")
    };
    mentions(&error, &["5.8"]);
    Ok(())
}
