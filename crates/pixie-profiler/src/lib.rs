//! CPU profiling for pixie.
//!
//! [`Profile`] adds up [`Stack`](pixie_core::record::Stack) records, whoever made them, and writes
//! them as folded stacks, pprof or flame graphs.
#![forbid(unsafe_code)]

mod profile;

pub use profile::{FlameGraph, GroupBy, Measure, Profile};
