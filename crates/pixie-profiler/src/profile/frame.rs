use pixie_core::Text;
use pixie_core::record::Frame;
use std::collections::HashMap;
use std::sync::Arc;

/// A function as a profile tells it from others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ProfileFrame {
    pub(super) kind: Kind,
    /// What is shown of it.
    pub(super) name: Text,
    pub(super) file: Option<Text>,
    pub(super) line: Option<u32>,
    pub(super) binary: Option<Text>,
    pub(super) build_id: Option<Text>,
    /// Where the function has no name: the address as the file counts, so that others may find one.
    pub(super) address: u64,
}

/// What a frame is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A function of a program.
    #[default]
    User,
    /// One that was inlined into the next.
    Inlined,
    /// A function of the kernel.
    Kernel,
    /// Code of which no name is known.
    Unnamed,
    /// Why there are no more frames.
    Cut,
    /// What the stacks are grouped by.
    Group,
}

impl ProfileFrame {
    pub(super) fn of(frame: &Frame) -> Self {
        let kind = match frame {
            Frame { kernel: true, .. } => Kind::Kernel,
            Frame { function: None, .. } => Kind::Unnamed,
            Frame { inlined: true, .. } => Kind::Inlined,
            _ => Kind::User,
        };
        let (name, address) = match (&frame.function, &frame.binary) {
            (Some(function), _) => (function.clone(), 0),
            (None, Some(binary)) => {
                let address = frame.file_address.unwrap_or(frame.address);
                (Text::from(format!("[{}]", file_name(&binary.to_str()))), address)
            }
            (None, None) => (Text::from("[unknown]"), 0),
        };
        Self {
            kind,
            name,
            file: frame.file.clone(),
            line: frame.line,
            binary: frame.binary.clone(),
            build_id: frame.build_id.clone(),
            address,
        }
    }

    pub(super) fn group(name: Text) -> Self {
        Self { kind: Kind::Group, name, ..Self::default() }
    }

    pub(super) fn cut(reason: &Text) -> Self {
        Self { kind: Kind::Cut, name: format!("[cut: {reason}]").into(), ..Self::default() }
    }

    /// The name without what breaks lines or hides.
    pub(super) fn shown(&self) -> String {
        let name = self.name.to_str();
        name.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
    }
}

/// The last part of a path.
pub(super) fn file_name(path: &str) -> &str {
    let path = path.trim_matches(['[', ']']);
    path.rsplit('/').next().unwrap_or_default()
}

/// Every frame once.
#[derive(Debug, Default)]
pub(super) struct Frames {
    list: Vec<Arc<ProfileFrame>>,
    numbers: HashMap<Arc<ProfileFrame>, u32>,
    nothing: ProfileFrame,
}

impl Frames {
    /// The number of a frame.
    pub(super) fn of(&mut self, frame: ProfileFrame) -> u32 {
        if let Some(number) = self.numbers.get(&frame) {
            return *number;
        }
        // The tree is full long before these numbers are used up.
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        let frame = Arc::new(frame);
        self.list.push(Arc::clone(&frame));
        self.numbers.insert(frame, number);
        number
    }

    pub(super) fn get(&self, number: u32) -> &ProfileFrame {
        self.list.get(number as usize).map_or(&self.nothing, |frame| frame)
    }
}
