//! The few forms of DWARF expressions that compilers and assembler code use to unwind by.

use super::frames::{FRAME_POINTER, Reader, STACK_POINTER};
use gimli::{Encoding, Expression, Operation, Register};
use pixie_probes::sampler::{Cfa, Saved};

/// The longest expression that is looked at, in operations.
const MAX_OPERATIONS: usize = 12;
/// DWARF's number of the instruction pointer.
const INSTRUCTION_POINTER: Register = Register(16);

/// What of an operation matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Register(Register, i64),
    Load,
    Add(u64),
    Constant(u64),
    Plus,
    Times,
    And,
    AtLeast,
    ShiftLeft,
}

fn steps(expression: &Expression<Reader<'_>>, encoding: Encoding) -> Option<Vec<Step>> {
    let mut operations = expression.operations(encoding);
    let mut steps = Vec::new();
    while let Ok(Some(operation)) = operations.next() {
        if steps.len() >= MAX_OPERATIONS {
            return None;
        }
        steps.push(match operation {
            Operation::RegisterOffset { register, offset, .. } => Step::Register(register, offset),
            Operation::Deref { size: 8, space: false, .. } => Step::Load,
            Operation::PlusConstant { value } => Step::Add(value),
            Operation::UnsignedConstant { value } => Step::Constant(value),
            Operation::Plus => Step::Plus,
            Operation::Mul => Step::Times,
            Operation::And => Step::And,
            Operation::Ge => Step::AtLeast,
            Operation::Shl => Step::ShiftLeft,
            _ => return None,
        });
    }
    Some(steps)
}

/// The canonical frame address that an expression computes.
pub(crate) fn cfa(expression: &Expression<Reader<'_>>, encoding: Encoding) -> Cfa {
    let Some(steps) = steps(expression, encoding) else { return Cfa::Unsupported };
    from_steps(&steps).unwrap_or(Cfa::Unsupported)
}

fn from_steps(steps: &[Step]) -> Option<Cfa> {
    use Step::{Add, And, AtLeast, Constant, Load, Plus, Register, ShiftLeft, Times};
    let (steps, second) = match steps {
        [rest @ .., Load, Add(second)] => (rest, i32::try_from(*second).ok()?),
        [rest @ .., Load] => (rest, 0),
        // .plt: the stub pushes in its second instruction.
        [
            Register(STACK_POINTER, offset),
            Register(INSTRUCTION_POINTER, 0),
            Constant(15),
            And,
            Constant(from),
            AtLeast,
            Constant(3),
            ShiftLeft,
            Plus,
        ] => {
            return Some(Cfa::Stub(i32::try_from(*offset).ok()?, u8::try_from(*from).ok()?));
        }
        _ => return None,
    };
    match steps {
        [Register(STACK_POINTER, offset)] => {
            Some(Cfa::AtStackPointer(i32::try_from(*offset).ok()?, second))
        }
        [Register(FRAME_POINTER, offset)] => {
            Some(Cfa::AtFramePointer(i32::try_from(*offset).ok()?, second))
        }
        // Where OpenSSL's multiplication keeps the caller's stack pointer.
        [Register(STACK_POINTER, offset), Register(index, 0), Constant(8), Times, Plus]
            if index.0 < 16 =>
        {
            let offset = i32::try_from(*offset).ok()?;
            Some(Cfa::AtStackPointerIndexed(index.0 as u8, offset, second))
        }
        _ => None,
    }
}

/// Where the caller's register is, when an expression computes the place. `None` when it is of
/// another form.
pub(crate) fn saved(expression: &Expression<Reader<'_>>, encoding: Encoding) -> Option<Saved> {
    match *steps(expression, encoding)?.as_slice() {
        [Step::Register(STACK_POINTER, offset)] => {
            Some(Saved::AtStackPointer(i16::try_from(offset).ok()?))
        }
        [Step::Register(FRAME_POINTER, offset)] => {
            Some(Saved::AtFramePointer(i16::try_from(offset).ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gimli::{EndianSlice, LittleEndian};

    const ENCODING: Encoding =
        Encoding { address_size: 8, format: gimli::Format::Dwarf32, version: 4 };

    fn expression(bytes: &[u8]) -> Expression<Reader<'_>> {
        Expression(EndianSlice::new(bytes, LittleEndian))
    }

    #[test]
    fn the_forms_that_are_in_use_are_known() {
        // As `readelf --debug-dump=frames` shows them of ld, of gcc, of glibc and of OpenSSL.
        let plt = [0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22];
        assert_eq!(cfa(&expression(&plt), ENCODING), Cfa::Stub(8, 11));
        let realigned = [0x76, 0x78, 0x06];
        assert_eq!(cfa(&expression(&realigned), ENCODING), Cfa::AtFramePointer(-8, 0));
        let signal = [0x77, 0xa0, 0x01, 0x06];
        assert_eq!(cfa(&expression(&signal), ENCODING), Cfa::AtStackPointer(160, 0));
        let pushed = [0x77, 0x98, 0x01, 0x06, 0x23, 8];
        assert_eq!(cfa(&expression(&pushed), ENCODING), Cfa::AtStackPointer(152, 8));
        let indexed = [0x77, 8, 0x79, 0, 0x38, 0x1e, 0x22, 0x06, 0x23, 8];
        assert_eq!(cfa(&expression(&indexed), ENCODING), Cfa::AtStackPointerIndexed(9, 8, 8));
        assert_eq!(saved(&expression(&[0x76, 0]), ENCODING), Some(Saved::AtFramePointer(0)));
        assert_eq!(
            saved(&expression(&[0x77, 0xf8, 0]), ENCODING),
            Some(Saved::AtStackPointer(120))
        );
    }

    #[test]
    fn other_forms_are_not_guessed() {
        assert_eq!(cfa(&expression(&[0x70, 0, 0x06]), ENCODING), Cfa::Unsupported);
        assert_eq!(cfa(&expression(&[]), ENCODING), Cfa::Unsupported);
        assert_eq!(saved(&expression(&[0x77, 0xf8, 0, 0x06]), ENCODING), None);
        let long = [0x06; 100];
        assert_eq!(cfa(&expression(&long), ENCODING), Cfa::Unsupported);
    }
}
