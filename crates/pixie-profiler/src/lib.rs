//! CPU profiling for pixie: which code the CPUs run, on every process, and who called it.
//!
//! ```text
//!  pixie-probes: [program] ─► stacks, counted ─► Profiler::poll ─► Sample ─► Namer ─► Stack ─► Profile
//!                    ▲
//!        unwind tables, from the files that processes map
//! ```
//!
//! A [`Profiler`] hands over [`Sample`]s: distinct stacks as addresses, with their counts. A
//! [`Namer`] makes [`Stack`](pixie_core::record::Stack) records of them. These, whoever made them,
//! are added up by a [`Profile`] and written as folded stacks, pprof, flame graphs, or for the Firefox
//! Profiler.
#![forbid(unsafe_code)]

mod builder;
mod counters;
mod files;
mod namer;
mod options;
mod processes;
mod profile;
mod profiler;
mod sample;
mod unwind;

pub use counters::Counters;
pub use namer::{Namer, NamerCounters};
pub use options::ProfilerOptions;
pub use pixie_probes::sampler::{Filter, Report};
pub use profile::{FlameGraph, GroupBy, Measure, Profile};
pub use profiler::{ProfileError, Profiler};
pub use sample::{ProcessImage, Sample, StackEnd, Truncation};
pub use unwind::{UnwindError, unwind_table};
