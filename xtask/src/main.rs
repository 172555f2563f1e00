//! Project chores: `cargo xtask CHORE`.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program that reports to people"
)]

mod bpf;
mod command;
mod folder;
mod fuzz;
mod oracle;
mod overhead;
mod packages;
mod packaging;
mod steps;
mod test;
mod vm;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask CHORE [OPTIONS]

  test   every check and every test of the project; as root it installs what they need
  vm     run the end-to-end tests on Debian's kernels, each in a virtual machine
  bpf    rebuild the eBPF objects, or check that they are what their sources give
  fuzz   run the fuzz targets
  oracle compare what we make of packet captures with what tshark does
  overhead
         measure what tracing costs

`cargo xtask CHORE --help` says more.";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let chore = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    match run(&chore, &arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask {chore}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: &str, arguments: &[String]) -> Result<ExitCode> {
    let usage = match chore {
        "test" => test::USAGE,
        "vm" => vm::USAGE,
        "bpf" => bpf::USAGE,
        "fuzz" => fuzz::USAGE,
        "oracle" => oracle::USAGE,
        "overhead" => overhead::USAGE,
        "" | "help" | "-h" | "--help" => USAGE,
        _ => bail!("there is no such chore\n\n{USAGE}"),
    };
    let own = arguments.split(|argument| argument == "--").next().unwrap_or_default();
    if usage == USAGE || own.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{usage}");
        return Ok(ExitCode::SUCCESS);
    }
    match chore {
        "test" => test::main(arguments),
        "vm" => vm::main(arguments),
        "bpf" => bpf::main(arguments),
        "oracle" => oracle::main(arguments),
        "overhead" => overhead::main(arguments),
        _ => fuzz::main(arguments),
    }
}
