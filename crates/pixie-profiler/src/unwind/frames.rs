//! Call frame information: `.eh_frame` (Linux Standard Base, "Exception Frames") and `.debug_frame`
//! (DWARF 5, section 6.4).

use super::layout::Layout;
use super::{UnwindError, expression};
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, CommonInformationEntry, DebugFrame, EhFrame, EndianSlice,
    FrameDescriptionEntry, LittleEndian, PartialFrameDescriptionEntry, Register, RegisterRule,
    UnwindContext, UnwindOffset, UnwindSection, UnwindTableRow, X86_64,
};
use pixie_probes::sampler::{Cfa, Rule, Saved};
use std::collections::HashMap;

pub(crate) type Reader<'a> = EndianSlice<'a, LittleEndian>;

pub(crate) const FRAME_POINTER: Register = X86_64::RBP;
pub(crate) const STACK_POINTER: Register = X86_64::RSP;
const RETURN_ADDRESS: Register = X86_64::RA;
/// The longest common part of functions that is read, in bytes. It is gone through for each of them, and
/// real ones have some 30.
const MAX_COMMON: usize = 512;
/// Where glibc says that the kernel left the stack pointer when a signal came.
const SIGNAL_STACK_POINTER: Cfa = Cfa::AtStackPointer(160, 0);

/// A section of call frame information.
pub(crate) struct Frames<'a, S: UnwindSection<Reader<'a>>> {
    section: S,
    bases: BaseAddresses,
    /// What functions have in common, by where it lies.
    common: HashMap<usize, Option<CommonInformationEntry<Reader<'a>>>>,
    context: UnwindContext<usize>,
}

impl<'a> Frames<'a, EhFrame<Reader<'a>>> {
    /// Of `.eh_frame`.
    pub(crate) fn of_exceptions(bytes: &'a [u8], bases: BaseAddresses) -> Self {
        let mut section = EhFrame::new(bytes, LittleEndian);
        section.set_address_size(8);
        Self::new(section, bases)
    }
}

impl<'a> Frames<'a, DebugFrame<Reader<'a>>> {
    /// Of `.debug_frame`.
    pub(crate) fn of_debugging(bytes: &'a [u8], bases: BaseAddresses) -> Self {
        let mut section = DebugFrame::new(bytes, LittleEndian);
        section.set_address_size(8);
        Self::new(section, bases)
    }
}

impl<'a, S: UnwindSection<Reader<'a>>> Frames<'a, S> {
    fn new(section: S, bases: BaseAddresses) -> Self {
        Self { section, bases, common: HashMap::new(), context: UnwindContext::new() }
    }

    /// Tells where each function begins, and where in the section it is told of.
    pub(crate) fn functions(
        &mut self,
        mut tell: impl FnMut(u64, usize) -> Result<(), UnwindError>,
    ) -> Result<(), UnwindError> {
        let mut entries = self.section.entries(&self.bases);
        // Where an entry is damaged, so is what would come after it.
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else { continue };
            let Ok(function) = parse(&partial, &mut self.common) else { continue };
            if extent(&function).is_some() {
                tell(function.initial_address(), function.offset())?;
            }
        }
        Ok(())
    }

    /// Reads the function that is told of there.
    pub(crate) fn read(&mut self, at: usize, layout: &mut Layout<'_>) -> Result<(), UnwindError> {
        let Self { section, bases, common, context } = self;
        let partial = section.partial_fde_from_offset(bases, S::Offset::from(at));
        let function = partial.and_then(|partial| parse(&partial, common));
        // It was read before.
        let Ok(function) = function else { return Ok(()) };
        let Some((start, end)) = extent(&function) else { return Ok(()) };
        if !layout.begin(start, end)? {
            return Ok(());
        }
        let encoding = function.cie().encoding();
        let signal = function.is_signal_trampoline();
        let Ok(mut rows) = function.rows(section, bases, context) else { return Ok(()) };
        let mut next = start;
        loop {
            match rows.next_row() {
                Ok(Some(row)) => {
                    next = row.end_address();
                    layout.row(row.start_address(), rule(section, row, encoding, signal))?;
                }
                Ok(None) => return Ok(()),
                // The rest of the function is not known.
                Err(_) => return layout.row(next, Rule::UNSUPPORTED),
            }
        }
    }
}

fn parse<'a, S: UnwindSection<Reader<'a>>>(
    partial: &PartialFrameDescriptionEntry<'_, S, Reader<'a>>,
    common: &mut HashMap<usize, Option<CommonInformationEntry<Reader<'a>>>>,
) -> gimli::Result<FrameDescriptionEntry<Reader<'a>>> {
    partial.parse(|section, bases, offset| {
        common
            .entry(UnwindOffset::into(offset))
            .or_insert_with(|| {
                let common = section.cie_from_offset(bases, offset).ok()?;
                (common.entry_len() <= MAX_COMMON).then_some(common)
            })
            .clone()
            .ok_or(gimli::Error::NotCiePointer(0))
    })
}

/// Where a function begins and ends.
fn extent<'a>(function: &FrameDescriptionEntry<Reader<'a>>) -> Option<(u64, u64)> {
    let (start, length) = (function.initial_address(), function.len());
    let end = start.checked_add(length).filter(|end| *end > start && start != 0)?;
    Some((start, end))
}

fn rule<'a, S>(
    section: &S,
    row: &UnwindTableRow<usize>,
    encoding: gimli::Encoding,
    signal: bool,
) -> Rule
where
    S: UnwindSection<Reader<'a>>,
{
    let evaluate = |expression: &gimli::UnwindExpression<usize>| expression.get(section).ok();
    let saved = |rule: RegisterRule<usize>| match rule {
        RegisterRule::SameValue => Some(Saved::Kept),
        RegisterRule::Offset(offset) => Some(Saved::AtCfa(i16::try_from(offset).ok()?)),
        RegisterRule::Expression(place) => expression::saved(&evaluate(&place)?, encoding),
        _ => None,
    };
    let return_address = match row.register(RETURN_ADDRESS) {
        Some(RegisterRule::Undefined) => return Rule::END,
        Some(rule) => saved(rule),
        None => Some(Saved::AtCfa(-8)),
    };
    let Some(return_address) = return_address else { return Rule::UNSUPPORTED };
    let frame_pointer = match row.register(FRAME_POINTER) {
        None => Saved::Kept,
        Some(rule) => saved(rule).unwrap_or(Saved::Lost),
    };
    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => match i32::try_from(*offset) {
            Ok(offset) if *register == STACK_POINTER => Cfa::StackPointer(offset),
            Ok(offset) if *register == FRAME_POINTER => Cfa::FramePointer(offset),
            Ok(offset) if register.0 < 16 => Cfa::Register(register.0 as u8, offset),
            _ => Cfa::Unsupported,
        },
        CfaRule::Expression(place) => match evaluate(place) {
            Some(place) => expression::cfa(&place, encoding),
            None => Cfa::Unsupported,
        },
    };
    match cfa {
        Cfa::Unsupported => Rule::UNSUPPORTED,
        SIGNAL_STACK_POINTER if signal => Rule::SIGNAL,
        cfa => Rule { cfa, frame_pointer, return_address },
    }
}
