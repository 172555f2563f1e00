//! A virtual machine that runs one program and ends.

use super::image::Image;
use crate::command::installed;
use crate::folder::Folder;
use crate::steps::Log;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What to boot, and how.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The kernel's image.
    pub(crate) kernel: PathBuf,
    /// What is run, as a line of shell.
    pub(crate) command: String,
    /// What is there besides.
    pub(crate) image: Image,
    /// Memory in MiB.
    pub(crate) memory: u32,
    /// Processors.
    pub(crate) processors: u32,
    /// Let the clock count instructions, a nanosecond each, on one processor: times that the
    /// program measures are then numbers of instructions, which repeat.
    pub(crate) instructions: bool,
    /// How long it may take, boot and all.
    pub(crate) limit: Duration,
}

/// What the program did.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit status.
    pub(crate) status: i32,
    /// What it wrote.
    pub(crate) lines: Vec<String>,
    /// From power-on to the end.
    pub(crate) took: Duration,
}

/// The processor: a plain one, without `cmpxchg16b`. With it, Linux 6.12 panicked in one boot of
/// three on QEMU 7.2, in its allocator, which uses that instruction; without it, in none. That QEMU
/// leaves garbage in the flags when the instruction is interrupted is a guess.
const PROCESSOR: &str = "qemu64,-cx16";

/// Runs first in the machine: makes it what programs expect, runs the program, tells its status.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/usr/bin:/usr/sbin HOME=/root TMPDIR=/tmp LANG=C.UTF-8 TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
mount -t tracefs trace /sys/kernel/tracing
mount -t debugfs debug /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
chmod 1777 /tmp /var/tmp
ip link set lo up
hostname pixie
ulimit -n 65536
for module in /lib/modules/*.ko; do test ! -f $module || insmod $module; done
for port in 1 2; do stty -F /dev/ttyS$port raw -echo; done
sh /command > /dev/ttyS1 2>&1 < /dev/null
echo "status $?" > /dev/ttyS2
sync
poweroff -f
"#;

impl Machine {
    /// Boots, logs what the program writes as it does, and returns what became of it.
    pub(crate) fn run(mut self, log: &Log) -> Result<Ended> {
        self.image.script("init", INIT);
        self.image.text("command", &self.command);
        let folder = Folder::new()?;
        let initrd = folder.join("initrd");
        self.image.write(BufWriter::new(File::create(&initrd)?))?;
        let (console, status) = (folder.join("console"), folder.join("status"));
        let began = Instant::now();
        let mut qemu = self.qemu(&initrd, &console, &status)?;
        let mut child =
            Running(qemu.spawn().context("cannot run qemu: apt-get install qemu-system-x86")?);
        let output = child.0.stdout.take().context("qemu has no output")?;
        let (lines, in_time) = show(output, began + self.limit, log);
        let took = began.elapsed();
        drop(child);
        let status = fs::read_to_string(status).unwrap_or_default();
        let status = status.trim().strip_prefix("status ").and_then(|status| status.parse().ok());
        match status {
            Some(status) => Ok(Ended { status, lines, took }),
            None if !in_time => bail!("not done after {:?}\n{}", self.limit, tail(&console)),
            None => bail!("the machine ended before the program did\n{}", tail(&console)),
        }
    }

    fn qemu(&self, initrd: &Path, console: &Path, status: &Path) -> Result<Command> {
        let qemu = installed("qemu-system-x86_64").context("apt-get install qemu-system-x86")?;
        // It ends when this process is killed, too, and not only when it is dropped.
        let setpriv = installed("setpriv").context("apt-get install util-linux")?;
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(qemu);
        let processors = if self.instructions { 1 } else { self.processors };
        if self.instructions {
            command.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]);
        } else {
            // One thread for all processors. QEMU before 8.1 can translate code that another thread
            // is changing, and the kernel then runs into a breakpoint that stood there for a moment
            // while a tracepoint was switched (multipath-tcp/mptcp_net-next#471 on GitHub).
            command.args(["-accel", "tcg,thread=single"]);
        }
        command
            .args(["-cpu", PROCESSOR, "-m", &self.memory.to_string()])
            .args(["-smp", &processors.to_string()])
            .args(["-display", "none", "-monitor", "none", "-nodefaults", "-no-user-config"])
            .args(["-no-reboot", "-append", "console=ttyS0 panic=-1 quiet rdinit=/init"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(initrd)
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio", "-serial"])
            .arg(format!("file:{}", status.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        Ok(command)
    }
}

/// Logs lines as they come, and returns them; false when their end did not come in time.
fn show(
    output: impl std::io::Read + Send + 'static,
    until: Instant,
    log: &Log,
) -> (Vec<String>, bool) {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
        lines.map(|line| sender.send(line)).take_while(Result::is_ok).count()
    });
    let mut shown = Vec::new();
    loop {
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                log.line(&line);
                shown.push(line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return (shown, true),
            Err(mpsc::RecvTimeoutError::Timeout) => return (shown, false),
        }
    }
}

/// The last lines that the kernel wrote.
fn tail(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(60)..).unwrap_or_default();
    format!("its console ends with:\n{}", last.join("\n"))
}

/// A process that does not outlive this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
