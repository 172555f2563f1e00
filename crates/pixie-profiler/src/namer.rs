use crate::{ProcessImage, Sample, StackEnd};
use pixie_core::Text;
use pixie_core::record::{Frame, Process, Stack, StackState};
use pixie_symbols::{FileId, Place, SourceLine, Symbolizer, SymbolizerOptions, Unknown};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many frames of the kernel may come before that of the scheduler, where threads block.
const MAX_OF_TRACING: usize = 8;
/// The most addresses whose frames are kept ready, of each kind. A frame takes some 200 bytes, most
/// of which those of one function share.
const MAX_READY: usize = 1 << 16;

/// How often the kernel's symbols are read anew at most: modules are loaded, and programs.
const KERNEL_CHECK: Duration = Duration::from_secs(30);

/// Gives [`Sample`]s their names: makes [`Stack`] records of them.
///
/// Of a return address, the address before it is looked up, so that a call at the end of a function
/// is named by it and not by the function after it; the leaf, and code that a signal interrupted,
/// are named as they are. An address that has no name becomes a frame that says why.
pub struct Namer {
    symbolizer: Symbolizer,
    /// The path and build id of each file.
    files: HashMap<FileId, (Text, Option<Text>)>,
    /// What is at an address of what a process has mapped: by [`Sample::image`].
    places: HashMap<(u32, u64), Arc<[Frame]>>,
    /// What is at an address of a file.
    file_places: HashMap<(FileId, u64), Arc<[Frame]>>,
    kernel: HashMap<u64, Arc<[Frame]>>,
    kernel_read: Instant,
    /// The processes whose list of generated functions was read in this interval.
    perf_maps: HashSet<u32>,
    counters: NamerCounters,
    texts: Texts,
}

/// What became of all frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamerCounters {
    /// Frames that were named.
    pub named: u64,
    /// Frames that were not, by cause.
    pub unnamed: Vec<(Unknown, u64)>,
}

/// A frame without a name, and why.
struct Unnamed {
    cause: Unknown,
    frame: Box<Frame>,
}

impl Unnamed {
    fn new(cause: Unknown, binary: Option<Text>) -> Self {
        let mut frame = Frame::default();
        frame.binary = binary;
        frame.unknown = Some(cause.to_string().into());
        Self { cause, frame: Box::new(frame) }
    }
}

/// The texts that many frames have.
struct Texts {
    kernel: Text,
    /// Each text once, as far as there is room.
    known: HashMap<Arc<str>, Text>,
}

impl Texts {
    fn once(&mut self, text: &Arc<str>) -> Text {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        if self.known.len() >= MAX_READY {
            self.known.clear();
        }
        let known = Text::from(&**text);
        self.known.insert(text.clone(), known.clone());
        known
    }
}

impl Namer {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(options: SymbolizerOptions) -> Self {
        let mut symbolizer = Symbolizer::new(options);
        find_vdso(&mut symbolizer);
        Self {
            symbolizer,
            files: HashMap::new(),
            places: HashMap::new(),
            file_places: HashMap::new(),
            kernel: HashMap::new(),
            kernel_read: Instant::now(),
            perf_maps: HashSet::new(),
            counters: NamerCounters::default(),
            texts: Texts { kernel: "[kernel]".into(), known: HashMap::new() },
        }
    }

    /// What became of all frames so far.
    #[must_use]
    pub fn counters(&self) -> &NamerCounters {
        &self.counters
    }

    /// About how many bytes of symbols and debug information are kept.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.symbolizer.memory()
    }

    /// Says that the samples from now on are of another interval: what may have changed in between
    /// is looked at anew.
    pub fn next_interval(&mut self) {
        self.perf_maps.clear();
    }

    /// The record of a sample: of this process, which had this mapped, where that is known. `period`
    /// is the CPU time that one sample stands for.
    pub fn stack(
        &mut self,
        sample: &Sample,
        image: Option<&ProcessImage>,
        process: Arc<Process>,
        period: Duration,
    ) -> Stack {
        let mut stack = Stack::new(process, sample.count, self.frames(sample, image));
        stack.thread = Some(sample.tid).filter(|tid| *tid != 0);
        if sample.blocked_ns > 0 {
            stack.state = StackState::OffCpu;
            stack.total = Duration::from_nanos(sample.blocked_ns);
        } else {
            stack.total = period.saturating_mul(u32::try_from(sample.count).unwrap_or(u32::MAX));
        }
        if let StackEnd::Truncated(cause) = sample.end {
            stack.cut = Some(cause.as_str().into());
        }
        stack
    }

    /// Reads what it takes to name a sample, so that it can be named without delay. It makes no
    /// difference but to that.
    pub fn get_ready(&mut self, sample: &Sample, image: Option<&ProcessImage>) {
        for (index, address) in sample.kernel.iter().enumerate() {
            // What has no name now is looked up again.
            drop(self.in_kernel(lookup_in_kernel(index, *address)));
        }
        for index in 0..sample.user.len() {
            if let Some(lookup) = sample.lookup_address(index) {
                drop(self.in_process(sample, image, lookup));
            }
        }
    }

    /// The frames of a sample, leaf first.
    pub fn frames(&mut self, sample: &Sample, image: Option<&ProcessImage>) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(sample.kernel.len() + sample.user.len());
        for (index, address) in sample.kernel.iter().enumerate() {
            let named = self.in_kernel(lookup_in_kernel(index, *address));
            let named = named.unwrap_or_else(|unnamed| self.count(unnamed));
            if sample.blocked_ns > 0 && index < MAX_OF_TRACING && is_scheduler(&named) {
                // Before it are those of tracing.
                frames.clear();
            }
            self.add(&mut frames, &named, *address, 0);
        }
        for (index, address) in sample.user.iter().enumerate() {
            let Some(lookup) = sample.lookup_address(index) else { continue };
            let named = self.in_process(sample, image, lookup);
            let named = named.unwrap_or_else(|unnamed| self.count(unnamed));
            self.add(&mut frames, &named, *address, address.saturating_sub(lookup));
        }
        frames
    }

    /// Adds the frames that are at a place, which is `before` bytes before the address.
    fn add(&mut self, frames: &mut Vec<Frame>, named: &[Frame], address: u64, before: u64) {
        for frame in named {
            let mut frame = frame.clone();
            frame.address = address;
            frame.file_address = frame.file_address.map(|at| at.saturating_add(before));
            self.counters.named += u64::from(frame.unknown.is_none());
            frames.push(frame);
        }
    }

    fn in_kernel(&mut self, address: u64) -> Result<Arc<[Frame]>, Unnamed> {
        if let Some(frames) = self.kernel.get(&address) {
            return Ok(frames.clone());
        }
        match self.kernel_frame(address) {
            Ok(frame) => {
                if self.kernel.len() >= MAX_READY {
                    self.kernel.clear();
                }
                let frames: Arc<[Frame]> = Arc::from([frame]);
                self.kernel.insert(address, frames.clone());
                Ok(frames)
            }
            Err(cause) => {
                let mut unnamed = Unnamed::new(cause, Some(self.texts.kernel.clone()));
                unnamed.frame.kernel = true;
                Err(unnamed)
            }
        }
    }

    fn kernel_frame(&mut self, address: u64) -> Result<Frame, Unknown> {
        let missing = self.symbolizer.kernel_function(address).is_err();
        if missing && self.kernel_read.elapsed() >= KERNEL_CHECK {
            self.kernel_read = Instant::now();
            // What cannot be read now may be later.
            let _ = self.symbolizer.read_kernel();
        }
        let function = self.symbolizer.kernel_function(address)?;
        let binary = match function.module {
            Some(module) => Text::from(format!("[{module}]")),
            None => self.texts.kernel.clone(),
        };
        let mut frame = Frame::default();
        frame.function = Some(Text::from(function.name));
        frame.binary = Some(binary);
        frame.kernel = true;
        Ok(frame)
    }

    fn in_process(
        &mut self,
        sample: &Sample,
        image: Option<&ProcessImage>,
        address: u64,
    ) -> Result<Arc<[Frame]>, Unnamed> {
        let key = (sample.image, address);
        if let Some(frames) = self.places.get(&key).filter(|_| sample.image != 0) {
            return Ok(frames.clone());
        }
        let image = image.ok_or_else(|| Unnamed::new(Unknown::NoProcess, None))?;
        let at = image.at(address);
        let (mapping, file) = at.ok_or_else(|| Unnamed::new(Unknown::NotMapped, None))?;
        let located = self.symbolizer.locate_in(&image.process, mapping, address, file);
        let result = match located {
            Ok(Place::File { file, address }) => {
                let frames = self.in_file(file, address);
                if let (Ok(frames), true) = (&frames, sample.image != 0) {
                    if self.places.len() >= MAX_READY {
                        self.places.clear();
                    }
                    self.places.insert(key, frames.clone());
                }
                frames
            }
            Ok(_) => self.generated(&image.process, address).ok_or(Unknown::NoFile),
            // Some run-time compilers keep their code in files of memory.
            Err(unknown) => self.generated(&image.process, address).ok_or(unknown),
        };
        result.map_err(|cause| {
            let binary = mapping.path.to_string_lossy();
            let binary = Some(&*binary).filter(|path| !path.is_empty()).map(Text::from);
            let mut unnamed = Unnamed::new(cause, binary);
            if let Ok(Place::File { file, address }) = located {
                let (path, build_id) = self.file(file);
                (unnamed.frame.binary, unnamed.frame.build_id) = (Some(path), build_id);
                unnamed.frame.file_address = Some(address);
            }
            unnamed
        })
    }

    /// What a run-time compiler says of code that it made. Not kept: it makes more at any time.
    fn generated(
        &mut self,
        process: &pixie_symbols::Process,
        address: u64,
    ) -> Option<Arc<[Frame]>> {
        let pid = process.pid();
        if self.perf_maps.insert(pid) {
            // Most processes have none.
            let _ = self.symbolizer.read_perf_map(process);
        }
        let named = self.symbolizer.name(Place::Generated { pid, address }).ok()?;
        let frame = |named: &pixie_symbols::Frame| {
            let mut frame = Frame::default();
            frame.function = Some(Text::from(&*named.function));
            frame.binary = Some("[generated]".into());
            frame
        };
        Some(named.iter().map(frame).collect())
    }

    fn in_file(&mut self, file: FileId, address: u64) -> Result<Arc<[Frame]>, Unknown> {
        let key = (file, address);
        if let Some(frames) = self.file_places.get(&key) {
            return Ok(frames.clone());
        }
        let named = self.symbolizer.name_at(file, address)?;
        let (binary, build_id) = self.file(file);
        let texts = &mut self.texts;
        let frames = named.iter().map(|named| {
            let mut frame = Frame::default();
            frame.function = Some(texts.once(&named.function));
            if let Some(SourceLine { file, line, .. }) = &named.line {
                frame.file = Some(texts.once(file));
                frame.line = Some(*line).filter(|line| *line > 0);
            }
            frame.inlined = named.inlined;
            frame.binary = Some(binary.clone());
            frame.build_id = build_id.clone();
            frame.file_address = Some(address);
            frame
        });
        let frames: Arc<[Frame]> = frames.collect();
        if self.file_places.len() >= MAX_READY {
            self.file_places.clear();
        }
        self.file_places.insert(key, frames.clone());
        Ok(frames)
    }

    /// The path and the build id of a file.
    fn file(&mut self, file: FileId) -> (Text, Option<Text>) {
        if let Some(known) = self.files.get(&file) {
            return known.clone();
        }
        if self.files.len() >= MAX_READY {
            self.files.clear();
        }
        let path = self.symbolizer.path(file).map(|path| path.to_string_lossy());
        let path = Text::from(path.as_deref().unwrap_or_default());
        let build_id = self.symbolizer.build_id(file).map(|id| Text::from(id.to_string()));
        self.files.insert(file, (path.clone(), build_id.clone()));
        (path, build_id)
    }

    fn count(&mut self, Unnamed { cause, frame }: Unnamed) -> Arc<[Frame]> {
        match self.counters.unnamed.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, count)) => *count += 1,
            None => self.counters.unnamed.push((cause, 1)),
        }
        Arc::from([*frame])
    }
}

/// The address to look up for a frame of the kernel: of a return address, the last byte of the call.
fn lookup_in_kernel(index: usize, address: u64) -> u64 {
    if index == 0 { address } else { address.saturating_sub(1) }
}

/// Whether these are the frames of where the kernel goes from one thread to another.
fn is_scheduler(frames: &[Frame]) -> bool {
    let of = |frame: &Frame| {
        frame.function.as_ref().is_some_and(|name| {
            let name = name.to_str();
            // Compilers add to the name.
            name.split('.').next() == Some("__schedule")
        })
    };
    frames.first().is_some_and(of)
}

/// Takes in the library that the kernel maps into every process, from our own: those of others are
/// gone with them.
fn find_vdso(symbolizer: &mut Symbolizer) {
    let Ok(ours) = pixie_symbols::Process::new(std::process::id()) else { return };
    let vdso = ours.mappings().iter().find(|mapping| mapping.path.as_os_str() == "[vdso]");
    if let Some(vdso) = vdso {
        // Without it, its functions have no names in processes that have ended.
        let _ = symbolizer.locate(&ours, vdso.start);
    }
}

impl std::fmt::Debug for Namer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Namer").field("counters", &self.counters).finish_non_exhaustive()
    }
}
