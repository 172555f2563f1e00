use super::{GoAttachPoints, GoDeferred, GoError, way_out};
use crate::code::x86_64::{Body, GO_ARGUMENTS, GO_PLACE, STACK_POINTER};
use crate::{ElfError, ElfFile, Machine, ProbePlace};
use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use std::ops::Range;

/// The largest function that is decoded, in bytes.
const MAX_FUNCTION: u64 = 16 << 20;
/// How much is looked at of a function that is deferred, in bytes.
const CLOSURE: u64 = 64;
/// The largest function of which a better place than its first instruction is looked for, in bytes.
const MAX_ENTRY: u64 = 1 << 18;

pub(super) fn attach_points(
    file: &ElfFile,
    Range { start, end }: Range<u64>,
    registers: bool,
) -> Result<GoAttachPoints, GoError> {
    let size = end.saturating_sub(start);
    if size > MAX_FUNCTION {
        return Err(GoError::TooLarge);
    }
    let nowhere = || ElfError::Malformed("the function is not in the file".to_owned());
    let first = file.file_offset(start).ok_or_else(nowhere)?;
    let code = file.read_at(start, size)?;
    if code.len() as u64 != size {
        return Err(nowhere().into());
    }
    let returns = match file.machine() {
        Machine::X86_64 => x86_64(&code, start)?,
        Machine::Aarch64 => aarch64(&code),
        Machine::Other(_) => return Err(GoError::UnknownMachine),
    };
    let returns = returns.into_iter().map(|distance| first + distance).collect();
    let kept = if registers { GO_ARGUMENTS } else { STACK_POINTER };
    let body = (file.machine() == Machine::X86_64 && size <= MAX_ENTRY)
        .then(|| Body::decode(&code, start))
        .flatten();
    let found = body.as_ref().and_then(|body| body.go_entry(kept));
    let entry = match found {
        Some(found) => {
            ProbePlace { offset: first + (found.address - start), emulated: found.emulated }
        }
        None => ProbePlace { offset: first, emulated: false },
    };
    let deferred = body.filter(|_| registers).and_then(|body| deferred(file, &body));
    Ok(GoAttachPoints { entry, returns, deferred })
}

/// What most calls of the function come by on their way out, if a probe is cheap there.
fn deferred(file: &ElfFile, body: &Body) -> Option<GoDeferred> {
    let way = way_out::find(body)?;
    let code = file.read_at(way.deferred, CLOSURE).ok()?;
    let entry = Body::way_in(&code, way.deferred)?.entry(GO_PLACE)?;
    // The return address is on the stack, too.
    let depth = entry.depth.checked_add(8)?;
    let offset = |address| file.file_offset(address);
    Some(GoDeferred {
        offset: offset(entry.address)?,
        frame: u32::try_from(way.frame.checked_add(depth)?).ok()?,
        result: u32::try_from(way.result.checked_add(depth)?).ok()?,
        other_returns: way.returns.into_iter().map(offset).collect::<Option<_>>()?,
    })
}

/// The distances from the start of the code to its returns. What fills the space after a function
/// is an instruction too, `int3`.
fn x86_64(code: &[u8], address: u64) -> Result<Vec<u64>, GoError> {
    let mut returns = Vec::new();
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        match instruction.mnemonic() {
            Mnemonic::INVALID => return Err(GoError::Undecodable { address: instruction.ip() }),
            Mnemonic::Ret => returns.push(instruction.ip() - address),
            _ => {}
        }
    }
    Ok(returns)
}

/// As [`x86_64`]. All instructions have four bytes; `RET` through any register is one bit pattern.
fn aarch64(code: &[u8]) -> Vec<u64> {
    let words = code.as_chunks::<4>().0.iter().enumerate();
    let returns = words.filter(|(_, word)| u32::from_le_bytes(**word) & 0xffff_fc1f == 0xd65f_0000);
    returns.map(|(index, _)| index as u64 * 4).collect()
}

#[cfg(test)]
mod tests {
    use super::{aarch64, x86_64};

    #[test]
    fn returns_are_found_among_instructions_that_look_like_them() {
        // mov $0xc3c3c3c3, %eax; ret; ret $8; padding.
        let code = [0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc2, 8, 0, 0xcc, 0xcc];
        assert_eq!(x86_64(&code, 0x1000).unwrap(), [5, 6]);
        assert!(x86_64(&[0x90, 0x06], 0x1000).is_err(), "push %es is none in 64-bit code");
        assert!(x86_64(&[0xe8, 0], 0x1000).is_err(), "a call that is cut short");
    }

    #[test]
    fn returns_of_arm_are_found() {
        let code = [0xd503_201f_u32, 0xd65f_03c0, 0xd61f_0060, 0xd65f_0040];
        let code: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(aarch64(&code), [4, 12]);
    }
}
