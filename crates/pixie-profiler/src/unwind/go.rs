//! What Go's tables tell of the stack: how far the stack pointer is below the return address.
//!
//! Go keeps frame pointers, but not in functions that call nothing, so that by these alone their
//! callers would be missing.

use super::UnwindError;
use super::layout::Layout;
use pixie_probes::sampler::{Cfa, Rule, Saved};
use pixie_symbols::{GoBinary, GoFunction, GoStackUse};

/// A function of which nothing is known but that the frame pointer is kept; its caller may be on
/// another stack.
const BY_FRAME_POINTER: Rule = Rule {
    cfa: Cfa::OtherStack(16),
    frame_pointer: Saved::AtCfa(-16),
    return_address: Saved::AtCfa(-8),
};

/// Tells where each function begins, and how many bytes before its first instruction that is.
pub(crate) fn functions(
    binary: &GoBinary,
    mut tell: impl FnMut(u64, usize) -> Result<(), UnwindError>,
) -> Result<(), UnwindError> {
    for function in binary.functions() {
        let before = usize::from(returns_from_signal(binary, &function));
        let start = function.address.saturating_sub(before as u64);
        if start != 0 {
            tell(start, before)?;
        }
    }
    Ok(())
}

/// A handler returns to the first instruction of what returns from the signal; the address before, which
/// is looked up for return addresses, is padding.
fn returns_from_signal(binary: &GoBinary, function: &GoFunction<'_>) -> bool {
    binary.stack_use(function) == GoStackUse::ReturnsFromSignal
}

/// Reads the function that begins there, so many bytes before its first instruction.
pub(crate) fn read(
    binary: &GoBinary,
    start: u64,
    before: usize,
    layout: &mut Layout<'_>,
) -> Result<(), UnwindError> {
    let address = start.saturating_add(before as u64);
    let found = binary.at(address).filter(|function| function.address == address);
    let Some(function) = found else { return Ok(()) };
    let next = binary.at(function.end).filter(|next| next.address == function.end);
    let next_is_earlier = next.is_some_and(|next| returns_from_signal(binary, &next));
    let end = function.end.saturating_sub(next_is_earlier.into());
    if start >= end || !layout.begin(start, end)? {
        return Ok(());
    }
    match binary.stack_use(&function) {
        GoStackUse::ReturnsFromSignal => layout.row(start, Rule::SIGNAL),
        GoStackUse::Top => layout.row(start, Rule::END),
        GoStackUse::Switches => layout.row(start, BY_FRAME_POINTER),
        kind => read_depths(binary, &function, kind == GoStackUse::Injected, layout),
    }
}

fn read_depths(
    binary: &GoBinary,
    function: &GoFunction<'_>,
    injected: bool,
    layout: &mut Layout<'_>,
) -> Result<(), UnwindError> {
    let mut start = function.address;
    for (end, depth) in binary.stack_depths(function) {
        let mut rule = at_depth(depth);
        if let (true, Cfa::StackPointer(to_cfa)) = (injected, rule.cfa) {
            rule.cfa = Cfa::Injected(to_cfa);
        }
        layout.row(start, rule)?;
        start = end;
    }
    if start < function.end {
        // Padding, or a function that there is no table for.
        layout.row(start, BY_FRAME_POINTER)?;
    }
    Ok(())
}

fn at_depth(depth: i32) -> Rule {
    let Some(to_cfa) = depth.checked_add(8).filter(|to_cfa| *to_cfa >= 8) else {
        return BY_FRAME_POINTER;
    };
    // A function with a frame saves its caller's frame pointer first thing. In those older than Go
    // 1.21 it is two instructions later than here, which matters only if a caller switched stacks.
    let frame_pointer = if depth == 0 { Saved::Kept } else { Saved::AtCfa(-16) };
    Rule { cfa: Cfa::StackPointer(to_cfa), frame_pointer, return_address: Saved::AtCfa(-8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_without_a_frame_has_its_return_address_on_top_of_the_stack() {
        let rule = at_depth(0);
        assert_eq!(rule.cfa, Cfa::StackPointer(8));
        assert_eq!(rule.frame_pointer, Saved::Kept);
        let rule = at_depth(0x48);
        assert_eq!(rule.cfa, Cfa::StackPointer(0x50));
        assert_eq!(rule.frame_pointer, Saved::AtCfa(-16));
    }

    #[test]
    fn a_depth_that_cannot_be_is_not_used() {
        for depth in [-1, i32::MIN, i32::MAX] {
            assert_eq!(at_depth(depth), BY_FRAME_POINTER, "{depth}");
        }
    }
}
