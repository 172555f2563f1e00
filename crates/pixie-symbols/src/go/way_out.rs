//! Where a function of Go's that defers calls comes by on its way out, other than at its returns.
//!
//! It calls what it deferred by the pointers that it has kept on its stack, takes its results from
//! there, and returns ("open-coded defers", since Go 1.14):
//!
//! ```text
//! mov  0x58(%rsp),%rdx    the closure
//! mov  (%rdx),%rax        its code
//! call *%rax
//! mov  0x20(%rsp),%rax    the first result
//! …
//! add  $0x68,%rsp
//! ret
//! ```
//!
//! The closure's code may begin with an instruction on which a probe is cheap, as `ret` never is; and
//! when it is called, the result is known.

use crate::code::x86_64::{Body, STACK_POINTER, deepens, writes};
use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, MemorySize, Mnemonic, OpAccess, OpKind,
    Register,
};
use std::collections::BTreeMap;

/// The most returns of a function that are looked at.
const MAX_RETURNS: usize = 64;
/// The most bytes of stack of a function that is looked at.
const MAX_FRAME: i64 = 1 << 18;
/// The size of a word, in bytes.
const WORD: i64 = 8;

/// How most calls of a function end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WayOut {
    /// The address of the function that is called on the way.
    pub(super) deferred: u64,
    /// How many bytes the stack is deeper in the function's body than where it began.
    pub(super) frame: i64,
    /// How many bytes above the stack pointer of the body the result is.
    pub(super) result: i64,
    /// The addresses of the returns that do not come by there.
    pub(super) returns: Vec<u64>,
}

/// Looks for the way out that most returns of this function have in common. `None` when it is not
/// certain that it calls the same function on it, and nowhere else, and what it then returns.
pub(super) fn find(body: &Body) -> Option<WayOut> {
    if !body.stays() {
        return None;
    }
    let mut code = Code { body, info: InstructionInfoFactory::new() };
    let tails = code.tails()?;
    let frame = code.frame(&tails)?;
    let calls = body.steps().filter(|one| one.flow_control() == FlowControl::IndirectCall).count();
    let seen: usize = tails.iter().map(|tail| code.calls(tail).count()).sum();
    if calls != seen {
        return None;
    }
    let stored = code.stored()?;
    let mut ways = BTreeMap::<(u64, i64), Vec<u64>>::new();
    let mut all = Vec::new();
    for tail in &tails {
        let ret = code.at(tail.ret)?.ip();
        all.push(ret);
        if let Some(way) = code.way(tail, &stored) {
            ways.entry(way).or_default().push(ret);
        }
    }
    let ((deferred, result), covered) = ways.into_iter().max_by_key(|(_, rets)| rets.len())?;
    all.retain(|ret| !covered.contains(ret));
    Some(WayOut { deferred, frame, result, returns: all })
}

/// What leads straight to a return, as indexes of instructions.
struct Tail {
    first: usize,
    ret: usize,
}

/// What is stored in a slot of the stack, if it is always the same or zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Value {
    /// The address of another slot.
    Slot(i64),
    /// An address in the program.
    Address(u64),
}

/// What is written to the stack.
struct Stored {
    /// From which distance above the stack pointer to which.
    from: i64,
    to: i64,
    /// `None` when it is not known what.
    what: Option<What>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Zero,
    Value(Value),
}

struct Code<'a> {
    body: &'a Body,
    info: InstructionInfoFactory,
}

impl Code<'_> {
    fn at(&self, index: usize) -> Option<&Instruction> {
        self.body.step(index)
    }

    /// The straight ways to its returns.
    fn tails(&self) -> Option<Vec<Tail>> {
        let mut tails = Vec::new();
        let mut first = 0;
        for (index, one) in self.body.steps().enumerate() {
            if self.body.leads_to(index) {
                first = index;
            }
            match one.flow_control() {
                FlowControl::Return => tails.push(Tail { first, ret: index }),
                FlowControl::Next | FlowControl::IndirectCall => continue,
                _ => {}
            }
            first = index + 1;
        }
        (!tails.is_empty() && tails.len() <= MAX_RETURNS).then_some(tails)
    }

    /// How much deeper the stack is in the body. That is the same everywhere from where the function
    /// makes room to where it gives it back, shortly before each of its returns.
    fn frame(&mut self, tails: &[Tail]) -> Option<i64> {
        let (mut frame, mut made, mut given) = (0, false, 0);
        let mut tails = tails.iter().peekable();
        for index in 0..self.body.len() {
            while tails.next_if(|tail| tail.ret < index).is_some() {
                given = 0;
            }
            let one = *self.at(index)?;
            // Nobody comes to where the room is not made yet, but through the start.
            if !made && index > 0 && self.body.leads_to(index) {
                return None;
            }
            if matches!(one.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
                if !made || given != 0 {
                    // The call that makes the stack grow comes after all of them.
                    return None;
                }
                continue;
            }
            if one.flow_control() == FlowControl::Return {
                if given != frame {
                    return None;
                }
                continue;
            }
            // What comes after calls that do not return, and after the function.
            if matches!(one.flow_control(), FlowControl::Interrupt | FlowControl::Exception) {
                continue;
            }
            let change = deepens(&mut self.info, &one)?;
            let on_way_out = tails.peek().is_some_and(|tail| index >= tail.first);
            match change {
                0 => {}
                1.. if !made => {
                    frame += change;
                    made = one.mnemonic() == Mnemonic::Sub;
                }
                ..0 if made && on_way_out => given -= change,
                _ => return None,
            }
        }
        (made && frame % WORD == 0 && frame < MAX_FRAME).then_some(frame)
    }

    fn calls(&self, tail: &Tail) -> impl Iterator<Item = usize> {
        (tail.first..tail.ret).filter(|index| {
            self.at(*index).is_some_and(|one| one.flow_control() == FlowControl::IndirectCall)
        })
    }

    /// What is called first on this way out, and where the result then lies.
    fn way(&mut self, tail: &Tail, stored: &[Stored]) -> Option<(u64, i64)> {
        let call = self.calls(tail).next()?;
        let last = self.calls(tail).last()?;
        let code = self.before(call, tail.first)?;
        let closure = self.before(code, tail.first)?;
        let (call_of, code, closure) = (*self.at(call)?, *self.at(code)?, *self.at(closure)?);
        // Go passes a closure in %rdx.
        let loads = code.mnemonic() == Mnemonic::Mov
            && code.op0_register() == call_of.op0_register()
            && code.op1_kind() == OpKind::Memory
            && code.memory_base() == Register::RDX
            && code.memory_index() == Register::None
            && code.memory_displacement64() == 0;
        if call_of.op0_kind() != OpKind::Register || !loads {
            return None;
        }
        let slot = loaded(&closure, Register::RDX)?;
        let Value::Slot(record) = value(stored, slot)? else { return None };
        let Value::Address(deferred) = value(stored, record)? else { return None };
        let result = self.result(last, tail.ret)?;
        // What lies there when the function is called is still there when it is loaded.
        for index in call..tail.ret {
            let one = *self.at(index)?;
            if self.overwrites(&one, result) {
                return None;
            }
        }
        let points = |one: &Instruction| {
            one.mnemonic() == Mnemonic::Lea
                && slot_of(one).is_some_and(|at| (result..result + WORD).contains(&at))
        };
        (!self.body.steps().any(points)).then_some((deferred, result))
    }

    /// The instruction before, but for those that do nothing.
    fn before(&self, index: usize, first: usize) -> Option<usize> {
        let mut before = first..index;
        before.rfind(|at| self.at(*at).is_some_and(|one| one.mnemonic() != Mnemonic::Nop))
    }

    /// Where the result is taken from, between these two.
    fn result(&mut self, call: usize, ret: usize) -> Option<i64> {
        for index in (call + 1..ret).rev() {
            let one = *self.at(index)?;
            if !writes(&mut self.info, &one, &[Register::RAX]) {
                continue;
            }
            let result = loaded(&one, Register::RAX)?;
            let moved = (call + 1..index)
                .filter_map(|before| self.at(before).copied())
                .collect::<Vec<_>>()
                .iter()
                .any(|before| writes(&mut self.info, before, STACK_POINTER));
            return (!moved).then_some(result);
        }
        None
    }

    fn overwrites(&mut self, one: &Instruction, slot: i64) -> bool {
        self.info.info(one).used_memory().iter().any(|used| {
            written(used.access())
                && used.base() == Register::RSP
                && overlaps(used.displacement().cast_signed(), bytes(used.memory_size()), slot)
        })
    }

    /// All that the function writes to its stack. `None` when it writes to where that is not known.
    fn stored(&mut self) -> Option<Vec<Stored>> {
        let mut stored = Vec::new();
        for index in 0..self.body.len() {
            let one = *self.at(index)?;
            let memory: Vec<_> = self.info.info(&one).used_memory().to_vec();
            for used in memory.iter().filter(|used| written(used.access())) {
                match used.base() {
                    Register::RSP if used.index() == Register::None => {}
                    Register::RSP | Register::RBP => return None,
                    _ => continue,
                }
                let from = used.displacement().cast_signed();
                let to = from.checked_add(bytes(used.memory_size()))?;
                stored.push(Stored { from, to, what: self.what(index, &one) });
            }
        }
        Some(stored)
    }

    /// What an instruction stores.
    fn what(&self, index: usize, one: &Instruction) -> Option<What> {
        match one.op1_kind() {
            // What Go keeps at zero.
            OpKind::Register if one.op1_register() == Register::XMM15 => {
                let moves = matches!(one.mnemonic(), Mnemonic::Movups | Mnemonic::Movq);
                return moves.then_some(What::Zero);
            }
            OpKind::Register if one.mnemonic() == Mnemonic::Mov => {}
            OpKind::Immediate32to64 | OpKind::Immediate8 if one.mnemonic() == Mnemonic::Mov => {
                return (one.immediate(1) == 0).then_some(What::Zero);
            }
            _ => return None,
        }
        // The register comes from the instruction just before.
        let before = self.before(index, 0)?;
        if (before + 1..=index).any(|at| self.body.leads_to(at)) {
            return None;
        }
        let before = self.at(before)?;
        if before.op0_kind() != OpKind::Register || before.op0_register() != one.op1_register() {
            return None;
        }
        match before.mnemonic() {
            Mnemonic::Lea if before.memory_base() == Register::RIP => {
                Some(What::Value(Value::Address(before.memory_displacement64())))
            }
            Mnemonic::Lea => Some(What::Value(Value::Slot(slot_of(before)?))),
            Mnemonic::Mov if before.op1_kind() == OpKind::Immediate32to64 => {
                (before.immediate(1) == 0).then_some(What::Zero)
            }
            _ => None,
        }
    }
}

/// The value of a slot: the same wherever it is not zero.
fn value(stored: &[Stored], slot: i64) -> Option<Value> {
    let mut found = None;
    for store in stored.iter().filter(|store| overlaps(store.from, store.to - store.from, slot)) {
        match store.what? {
            What::Zero => {}
            What::Value(value) if store.from == slot && store.to == slot + WORD => {
                if found.is_some_and(|found| found != value) {
                    return None;
                }
                found = Some(value);
            }
            What::Value(_) => return None,
        }
    }
    found
}

/// The slot that `mov slot(%rsp),register` loads.
fn loaded(one: &Instruction, register: Register) -> Option<i64> {
    let loads = one.mnemonic() == Mnemonic::Mov
        && one.op0_kind() == OpKind::Register
        && one.op0_register() == register
        && one.op1_kind() == OpKind::Memory;
    if loads { slot_of(one) } else { None }
}

/// How far above the stack pointer an instruction's memory operand is.
fn slot_of(one: &Instruction) -> Option<i64> {
    let plain = one.memory_base() == Register::RSP
        && one.memory_index() == Register::None
        && one.segment_prefix() == Register::None;
    let at = one.memory_displacement64().cast_signed();
    (plain && (0..MAX_FRAME).contains(&at)).then_some(at)
}

fn overlaps(from: i64, size: i64, slot: i64) -> bool {
    from < slot.saturating_add(WORD) && slot < from.saturating_add(size)
}

fn written(access: OpAccess) -> bool {
    !matches!(access, OpAccess::Read | OpAccess::CondRead | OpAccess::None | OpAccess::NoMemAccess)
}

/// The size in bytes; very large where it is not known.
fn bytes(size: MemorySize) -> i64 {
    match size.size() {
        0 => MAX_FRAME,
        size => i64::try_from(size).unwrap_or(MAX_FRAME),
    }
}

#[cfg(test)]
mod tests {
    use super::{WayOut, find};
    use crate::code::x86_64::Body;

    /// As Go 1.27 compiles `(*tls.Conn).Read`, in short. A patch takes the place of what is there.
    fn way_out(patches: &[(usize, &[u8])]) -> Option<WayOut> {
        let parts: &[&[u8]] = &[
            &[0x49, 0x3b, 0x66, 0x10],                         // 00 cmp 0x10(%r14),%rsp
            &[0x76, 0x60],                                     // 04 jbe 66
            &[0x55],                                           // 06 push %rbp
            &[0x48, 0x89, 0xe5],                               // 07 mov %rsp,%rbp
            &[0x48, 0x83, 0xec, 0x60],                         // 0a sub $0x60,%rsp
            &[0x66, 0x44, 0x0f, 0xd6, 0x7c, 0x24, 0x58],       // 0e movq %xmm15,0x58(%rsp)
            &[0x48, 0xc7, 0x44, 0x24, 0x20, 0, 0, 0, 0],       // 15 movq $0,0x20(%rsp)
            &[0x48, 0x85, 0xc9],                               // 1e test %rcx,%rcx
            &[0x74, 0x3b],                                     // 21 je 5e
            &[0x4c, 0x8d, 0x05, 0x43, 0, 0, 0],                // 23 lea 0x43(%rip),%r8
            &[0x4c, 0x89, 0x44, 0x24, 0x48],                   // 2a mov %r8,0x48(%rsp)
            &[0x48, 0x8d, 0x7c, 0x24, 0x48],                   // 2f lea 0x48(%rsp),%rdi
            &[0x48, 0x89, 0x7c, 0x24, 0x58],                   // 34 mov %rdi,0x58(%rsp)
            &[0xe8, 0, 0x10, 0, 0],                            // 39 call, out
            &[0x48, 0x89, 0x44, 0x24, 0x20],                   // 3e mov %rax,0x20(%rsp)
            &[0x48, 0x8b, 0x54, 0x24, 0x58],                   // 43 mov 0x58(%rsp),%rdx
            &[0x48, 0x8b, 0x02],                               // 48 mov (%rdx),%rax
            &[0x90],                                           // 4b nop
            &[0xff, 0xd0],                                     // 4c call *%rax
            &[0x0f, 0x1f, 0x44, 0, 0],                         // 4e nopl 0x0(%rax,%rax,1)
            &[0x48, 0x8b, 0x44, 0x24, 0x20],                   // 53 mov 0x20(%rsp),%rax
            &[0x48, 0x83, 0xc4, 0x60],                         // 58 add $0x60,%rsp
            &[0x5d, 0xc3],                                     // 5c pop %rbp; ret
            &[0x31, 0xc0, 0x48, 0x83, 0xc4, 0x60, 0x5d, 0xc3], // 5e xor %eax,%eax; …; ret
            &[0xe8, 0, 0x10, 0, 0],                            // 66 call, out
            &[0xeb, 0x93],                                     // 6b jmp 00
        ];
        let mut code = parts.concat();
        for (at, patch) in patches {
            code[*at..at + patch.len()].copy_from_slice(patch);
        }
        find(&Body::decode(&code, 0x1000).unwrap())
    }

    #[test]
    fn what_is_deferred_is_called_with_the_result_in_place() {
        let way = way_out(&[]).unwrap();
        let expected =
            WayOut { deferred: 0x106d, frame: 0x68, result: 0x20, returns: vec![0x1065] };
        assert_eq!(way, expected);
        let elsewhere = way_out(&[(0x53, &[0x48, 0x8b, 0x44, 0x24, 0x18])]);
        assert_eq!(elsewhere.unwrap().result, 0x18);
    }

    #[test]
    fn a_way_out_that_is_not_certain_is_none() {
        let none = |what: &str, at: usize, patch: &[u8]| {
            assert_eq!(way_out(&[(at, patch)]), None, "{what}");
        };
        none("another call may be of the same function", 0x39, &[0xff, 0xd1, 0x90, 0x90, 0x90]);
        none("the closure may be another", 0x39, &[0x48, 0x89, 0x4c, 0x24, 0x58]);
        none("the function may be another", 0x39, &[0x48, 0x89, 0x4c, 0x24, 0x48]);
        none("a half of it is overwritten", 0x39, &[0x89, 0x4c, 0x24, 0x4c, 0x90]);
        none("what is stored is not known", 0x39, &[0x48, 0x89, 0x0c, 0xcc, 0x90]);
        none("the result has an address", 0x39, &[0x48, 0x8d, 0x7c, 0x24, 0x20]);
        none("the result comes later", 0x4e, &[0x48, 0x89, 0x4c, 0x24, 0x20]);
        none("the result is no more than a half", 0x53, &[0x8b, 0x44, 0x24, 0x20, 0x90]);
        none("the stack is left deeper", 0x58, &[0x48, 0x83, 0xc4, 0x58]);
        none("the stack changes in between", 0x39, &[0x48, 0x83, 0xec, 0x10, 0x90]);
        none("it is called with another closure", 0x43, &[0x48, 0x8b, 0x4c, 0x24, 0x58]);
        none("a jump passes by the closure", 0x21, &[0x74, 0x28]);
        none("a jump leads anywhere", 0x39, &[0xff, 0xe0, 0x90, 0x90, 0x90]);
        none("it may go on elsewhere", 0x39, &[0xe9, 0, 0x10, 0, 0]);
    }
}
