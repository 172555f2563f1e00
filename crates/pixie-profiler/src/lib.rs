//! CPU profiling for pixie: which code the CPUs run, on every process, and who called it.
//!
//! ```text
//!  pixie-probes: [program] ─► stacks, counted ─► Profiler::poll ─► Sample ─► whoever names them
//!                    ▲
//!        unwind tables, from the files that processes map
//! ```
//!
//! A [`Profiler`] hands over [`Sample`]s: distinct stacks as addresses, with their counts. Naming
//! them gives [`Stack`](pixie_core::record::Stack) records, whoever made them, which [`Profile`]
//! adds up and writes as folded stacks, pprof or flame graphs.
#![forbid(unsafe_code)]

mod counters;
mod options;
mod profile;
mod profiler;
mod sample;

pub use counters::Counters;
pub use options::ProfilerOptions;
pub use pixie_probes::sampler::{Filter, Report};
pub use profile::{FlameGraph, GroupBy, Measure, Profile};
pub use profiler::{ProfileError, Profiler};
pub use sample::{ProcessImage, Sample, StackEnd, Truncation};
