//! Sampling of call stacks: what each CPU does, a number of times a second.

mod options;

pub use options::{Filter, Report, SamplerOptions};

use crate::ProbeError;

/// Programs that sample, attached for as long as it lives.
#[derive(Debug)]
pub struct Sampler {
    report: Report,
}

impl Sampler {
    /// Loads and attaches them.
    ///
    /// # Errors
    /// [`ProbeError`] tells what is missing.
    pub fn start(_options: &SamplerOptions) -> Result<Self, ProbeError> {
        Err(ProbeError::Kernel { action: "sampling", source: "it is not there yet".into() })
    }

    /// What was attached, what was not, and why.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Detaches them.
    pub fn detach(&mut self) {}
}
