//! CPU profiling for pixie: what is made of sampled call stacks.
//!
//! Sampling is not there yet. What is there is its output: [`FoldedStacks`] adds up
//! [`Stack`](pixie_core::record::Stack) records, whoever made them, and writes them in the form
//! that flame graph tools read.
#![forbid(unsafe_code)]

mod folded;

pub use folded::FoldedStacks;
