use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

/// The registers that the System V ABI passes arguments in.
pub(crate) const C_ARGUMENTS: &[Register] =
    &[Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];
/// What points to the return address.
pub(crate) const STACK_POINTER: &[Register] = &[Register::RSP];
/// The registers that Go passes arguments in since 1.17 (Go's `abi-internal.md`), the goroutine, and
/// the stack pointer.
pub(crate) const GO_ARGUMENTS: &[Register] = &[
    Register::RAX,
    Register::RBX,
    Register::RCX,
    Register::RDI,
    Register::RSI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R14,
    Register::RSP,
];
/// What tells which goroutine is where on its stack: itself, since Go 1.17, and the stack pointer.
pub(crate) const GO_PLACE: &[Register] = &[Register::R14, Register::RSP];
/// Where the stack protector's number is, in the thread's own data (`%fs`).
const CANARY: u64 = 0x28;

/// The instructions of a function.
pub(crate) struct Body {
    instructions: Vec<Step>,
    /// Where its branches lead within itself, in order.
    targets: Vec<u64>,
    /// Where its calls and branches lead that leave it, in order.
    outside: Vec<u64>,
    /// Whether it jumps to an address that it computes, or that it reads.
    indirect: bool,
    /// Whether it may go on in another function without returning.
    leaves: bool,
}

/// An instruction, and what of it matters here.
struct Step {
    instruction: Instruction,
    emulated: bool,
}

/// An instruction that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) address: u64,
    pub(crate) emulated: bool,
    /// How many bytes the stack is deeper here than where the function begins.
    pub(crate) depth: i64,
}

impl Body {
    /// Takes the code of a whole function apart. `None` when that is not possible, so that nothing
    /// is certain about it.
    pub(crate) fn decode(code: &[u8], address: u64) -> Option<Self> {
        let mut body = Self {
            instructions: Vec::new(),
            targets: Vec::new(),
            outside: Vec::new(),
            indirect: false,
            leaves: false,
        };
        let end = address.checked_add(code.len() as u64)?;
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if instruction.mnemonic() == Mnemonic::INVALID {
                return None;
            }
            let at = usize::try_from(instruction.ip() - address).ok()?;
            let bytes = code.get(at..at + instruction.len())?;
            body.follow(&instruction, address..end)?;
            body.instructions.push(Step { instruction, emulated: is_emulated(bytes) });
        }
        body.targets.sort_unstable();
        body.targets.dedup();
        body.outside.sort_unstable();
        body.outside.dedup();
        let known = |target: &u64| {
            body.instructions.binary_search_by_key(target, |step| step.instruction.ip()).is_ok()
        };
        // A branch into the middle of an instruction: this is no plain code.
        if !body.targets.iter().all(known) {
            return None;
        }
        // A call at the very end does not come back; anything else falls into what follows.
        let last = body.instructions.last()?.instruction;
        let falls =
            matches!(last.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch);
        body.leaves |= falls && !matches!(last.mnemonic(), Mnemonic::Nop | Mnemonic::Hlt);
        Some(body)
    }

    /// Takes apart what a function begins with, as far as it goes straight on. Of the rest nothing is
    /// known.
    pub(crate) fn start(code: &[u8], address: u64) -> Option<Self> {
        let straight = Decoder::with_ip(64, code, address, DecoderOptions::NONE)
            .into_iter()
            .take_while(|instruction| {
                instruction.mnemonic() != Mnemonic::INVALID
                    && instruction.flow_control() == FlowControl::Next
            })
            .map(|instruction| instruction.next_ip() - address)
            .last()?;
        let mut body = Self::decode(code.get(..usize::try_from(straight).ok()?)?, address)?;
        (body.indirect, body.leaves) = (true, true);
        Some(body)
    }

    /// Takes apart what every call of a function comes by, whatever its size: up to where its code
    /// first branches, that branch included. A call may come by again.
    pub(crate) fn way_in(code: &[u8], address: u64) -> Option<Self> {
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        let mut length = 0;
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if instruction.mnemonic() == Mnemonic::INVALID {
                break;
            }
            length = usize::try_from(instruction.next_ip() - address).ok()?;
            if instruction.flow_control() != FlowControl::Next {
                break;
            }
        }
        Self::decode(code.get(..length)?, address)
    }

    /// Whether it goes nowhere but by calls and returns, and by branches within itself.
    pub(crate) fn stays(&self) -> bool {
        !self.indirect && !self.leaves
    }

    /// Its instructions.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &Instruction> {
        self.instructions.iter().map(|step| &step.instruction)
    }

    /// How many instructions it has.
    pub(crate) fn len(&self) -> usize {
        self.instructions.len()
    }

    /// One of its instructions.
    pub(crate) fn step(&self, index: usize) -> Option<&Instruction> {
        self.instructions.get(index).map(|step| &step.instruction)
    }

    /// Whether one of its branches leads to the instruction.
    pub(crate) fn leads_to(&self, index: usize) -> bool {
        self.instructions.get(index).is_some_and(|step| self.is_target(step))
    }

    /// Takes note of where an instruction leads.
    fn follow(&mut self, instruction: &Instruction, inside: std::ops::Range<u64>) -> Option<()> {
        let target = instruction.near_branch_target();
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::IndirectCall | FlowControl::Exception => {}
            // `int3` and `syscall`.
            FlowControl::Interrupt => {}
            FlowControl::Return if instruction.mnemonic() == Mnemonic::Ret => {}
            FlowControl::Call if inside.contains(&target) => self.targets.push(target),
            FlowControl::Call => self.outside.push(target),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                if inside.contains(&target) {
                    self.targets.push(target);
                } else {
                    self.outside.push(target);
                    self.leaves = true;
                }
            }
            FlowControl::IndirectBranch => self.indirect = true,
            // Far returns and transactions.
            _ => return None,
        }
        Some(())
    }

    /// The first instruction that the kernel emulates, and where every call comes by with these
    /// registers as they were at the function's start. `None` when there is none.
    pub(crate) fn entry(&self, kept: &[Register]) -> Option<Found> {
        self.entries(kept).into_iter().next()
    }

    /// All such instructions.
    fn entries(&self, kept: &[Register]) -> Vec<Found> {
        let mut info = InstructionInfoFactory::new();
        let (mut found, mut depth) = (Vec::new(), Some(0));
        for (index, step) in self.instructions.iter().enumerate() {
            if index > 0 && self.is_target(step) {
                break;
            }
            // Where a computed jump may lead is not known, but not to where the stack grows.
            let certain = !self.indirect || step.instruction.mnemonic() == Mnemonic::Push;
            if let Some(depth) = depth.filter(|_| step.emulated && certain) {
                found.push(step.found(depth));
            }
            let straight = step.instruction.flow_control() == FlowControl::Next;
            if !straight || writes(&mut info, &step.instruction, kept) {
                break;
            }
            depth =
                depth.and_then(|depth| depth.checked_add(deepens(&mut info, &step.instruction)?));
        }
        found
    }

    /// Where a C function is entered and where it returns, if its ways out are known. The stack is
    /// never deeper at a return than at the entry: by that calls inside calls are told apart.
    pub(crate) fn ends(&self) -> (Option<Found>, Option<Vec<Found>>) {
        let entries = self.entries(C_ARGUMENTS);
        let Some(returns) = self.returns() else { return (entries.first().copied(), None) };
        let deepest = returns.iter().map(|place| place.depth).max().unwrap_or_default();
        match entries.iter().find(|entry| entry.depth >= deepest) {
            Some(entry) => (Some(*entry), Some(returns)),
            None => (entries.first().copied(), Some(self.plain_returns())),
        }
    }

    /// As [`Body::entry`], for a function of Go's. It begins by looking whether the stack is large
    /// enough, and begins again when it has grown: what comes after that look is passed but once.
    pub(crate) fn go_entry(&self, kept: &[Register]) -> Option<Found> {
        let found = self.entry(kept)?;
        let start = self.instructions.first()?.instruction.ip();
        let at = |step: &Step| step.instruction.ip() == found.address;
        let index = self.instructions.iter().position(at)?;
        let look = self.instructions.get(index)?;
        let next = self.instructions.get(index + 1);
        let again = |step: &&Step| {
            step.instruction.flow_control() == FlowControl::UnconditionalBranch
                && step.instruction.near_branch_target() == start
        };
        let looks = look.instruction.flow_control() == FlowControl::ConditionalBranch
            && self.instructions.iter().find(again).is_some();
        let better = next.filter(|next| looks && next.emulated && !self.is_target(next));
        Some(better.map_or(found, |better| better.found(found.depth)))
    }

    /// One place for each way out; `None` when not all of them are known.
    fn returns(&self) -> Option<Vec<Found>> {
        if self.indirect || self.leaves {
            return None;
        }
        let mut places = self.plain_returns();
        let mut info = InstructionInfoFactory::new();
        for place in &mut places {
            let ip = |step: &Step| step.instruction.ip();
            let index = self.instructions.binary_search_by_key(&place.address, ip).ok()?;
            *place = self.before_return(index, &mut info).unwrap_or(*place);
        }
        (!places.is_empty()).then_some(places)
    }

    /// The instructions that return.
    fn plain_returns(&self) -> Vec<Found> {
        let returns = |step: &&Step| step.instruction.flow_control() == FlowControl::Return;
        self.instructions.iter().filter(returns).map(|step| step.found(0)).collect()
    }

    /// An instruction that the kernel emulates and that is on every way to the return at `index`, and
    /// on no other, with the result in its register.
    fn before_return(&self, index: usize, info: &mut InstructionInfoFactory) -> Option<Found> {
        let mut depth = 0_i64;
        for at in (1..=index).rev() {
            if self.is_target(self.instructions.get(at)?) {
                return None;
            }
            let step = self.instructions.get(at - 1)?;
            depth = depth.checked_sub(deepens(info, &step.instruction)?)?;
            match step.instruction.flow_control() {
                FlowControl::Next if step.emulated => return Some(step.found(depth)),
                FlowControl::Next => {}
                // The other way leads to where the program is ended: the stack was damaged.
                FlowControl::ConditionalBranch if step.emulated && self.looks_at_canary(at - 1) => {
                    return Some(step.found(depth));
                }
                _ => return None,
            }
            if writes(info, &step.instruction, &[Register::RAX]) {
                return None;
            }
        }
        None
    }

    /// Whether the branch at `index` is taken when the stack protector's number was overwritten.
    fn looks_at_canary(&self, index: usize) -> bool {
        let before = index.checked_sub(1).and_then(|before| self.instructions.get(before));
        before.is_some_and(|step| {
            matches!(step.instruction.mnemonic(), Mnemonic::Sub | Mnemonic::Xor | Mnemonic::Cmp)
                && step.instruction.memory_segment() == Register::FS
                && step.instruction.memory_base() == Register::None
                && step.instruction.memory_index() == Register::None
                && step.instruction.memory_displacement64() == CANARY
        })
    }

    /// Whether it only jumps out, and calls nothing before.
    pub(crate) fn forwards(&self) -> bool {
        let flows = self.instructions.iter().map(|step| step.instruction.flow_control());
        let mut other = flows.filter(|flow| *flow != FlowControl::Next);
        self.outside.len() == 1
            && self.leaves
            && other.next() == Some(FlowControl::UnconditionalBranch)
            && other.next().is_none()
    }

    /// Where its calls and branches lead that leave it.
    pub(crate) fn calls(self) -> Vec<u64> {
        self.outside
    }

    fn is_target(&self, step: &Step) -> bool {
        self.targets.binary_search(&step.instruction.ip()).is_ok()
    }
}

impl Step {
    fn found(&self, depth: i64) -> Found {
        Found { address: self.instruction.ip(), emulated: self.emulated, depth }
    }
}

/// By how many bytes an instruction makes the stack deeper; `None` when that is not known.
pub(crate) fn deepens(info: &mut InstructionInfoFactory, instruction: &Instruction) -> Option<i64> {
    if !writes(info, instruction, STACK_POINTER) {
        return Some(0);
    }
    let constant = instruction.op0_register() == Register::RSP
        && matches!(
            instruction.op1_kind(),
            OpKind::Immediate8to64 | OpKind::Immediate32to64 | OpKind::Immediate64
        );
    match instruction.mnemonic() {
        Mnemonic::Push | Mnemonic::Pop if instruction.op0_register() != Register::RSP => {
            Some(-i64::from(instruction.stack_pointer_increment()))
        }
        Mnemonic::Sub if constant => Some(instruction.immediate(1).cast_signed()),
        Mnemonic::Add if constant => instruction.immediate(1).cast_signed().checked_neg(),
        _ => None,
    }
}

/// Whether an instruction changes one of these registers, or a part of one.
pub(crate) fn writes(
    info: &mut InstructionInfoFactory,
    instruction: &Instruction,
    registers: &[Register],
) -> bool {
    info.info(instruction).used_registers().iter().any(|used| {
        let read = matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None);
        !read && registers.contains(&used.register().full_register())
    })
}

/// Whether all kernels since 5.8 carry the instruction out themselves when a probe is on it:
/// `branch_setup_xol_ops` and `push_setup_xol_ops` in `arch/x86/kernel/uprobes.c`. With prefixes
/// some do, and longer `nop`s some do since 6.18; calls are left out because not all kernels keep a
/// shadow stack right with them.
fn is_emulated(code: &[u8]) -> bool {
    match *code {
        [0x50..=0x57] | [0x41, 0x50..=0x57] => true, // push
        [0x90] => true,                              // nop
        [0xeb, _] | [0xe9, _, _, _, _] => true,      // jmp
        [0x70..=0x7f, _] | [0x0f, 0x80..=0x8f, _, _, _, _] => true, // jcc
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, STACK_POINTER};

    /// A function at address 0.
    fn body(parts: &[&[u8]]) -> Body {
        Body::decode(&parts.concat(), 0).unwrap()
    }

    fn entry(body: &Body) -> Option<u64> {
        body.ends().0.map(|found| found.address)
    }

    fn returns(body: &Body) -> Option<Vec<u64>> {
        Some(body.ends().1?.iter().map(|found| found.address).collect())
    }

    const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
    const SUB_RSP: &[u8] = &[0x48, 0x83, 0xec, 0x18];
    const ADD_RSP: &[u8] = &[0x48, 0x83, 0xc4, 0x18];
    const TEST_EDX: &[u8] = &[0x85, 0xd2];
    const MOV_RDI_RSI: &[u8] = &[0x48, 0x89, 0xf7];
    const XOR_EAX: &[u8] = &[0x31, 0xc0];
    const XOR_EDX: &[u8] = &[0x31, 0xd2];
    /// `sub %fs:0x28,%rdx`.
    const CANARY: &[u8] = &[0x64, 0x48, 0x2b, 0x14, 0x25, 0x28, 0, 0, 0];
    const PUSH_R13: &[u8] = &[0x41, 0x55];
    const RET: &[u8] = &[0xc3];
    const NOP: &[u8] = &[0x90];
    const JS_NEXT: &[u8] = &[0x78, 0];
    const CALL_OUT: &[u8] = &[0xe8, 0, 1, 0, 0];

    #[test]
    fn the_entry_is_the_first_cheap_instruction_with_all_arguments() {
        assert_eq!(entry(&body(&[ENDBR64, PUSH_R13, RET])), Some(4));
        assert_eq!(entry(&body(&[SUB_RSP, TEST_EDX, JS_NEXT, RET])), Some(6));
        assert_eq!(entry(&body(&[XOR_EAX, NOP, RET])), Some(2), "rax is no argument");
        assert_eq!(entry(&body(&[XOR_EDX, NOP, RET])), None, "edx is a part of one");
        assert_eq!(entry(&body(&[MOV_RDI_RSI, NOP, RET])), None);
        assert_eq!(entry(&body(&[SUB_RSP, CALL_OUT, NOP, RET])), None, "a call changes registers");
        // cmovne %rsi,%rdi: may change it.
        assert_eq!(entry(&body(&[&[0x48, 0x0f, 0x45, 0xfe], NOP, RET])), None);
    }

    #[test]
    fn a_return_probe_needs_the_stack_as_it_was() {
        let place = |parts: &[&[u8]]| body(parts).entry(STACK_POINTER).map(|found| found.address);
        assert_eq!(place(&[ENDBR64, MOV_RDI_RSI, PUSH_R13, RET]), Some(7));
        assert_eq!(place(&[SUB_RSP, NOP, RET]), None);
    }

    #[test]
    fn the_entry_is_passed_once_a_call() {
        // test %edx,%edx; nop; …; jmp to the nop: around a loop.
        let around = body(&[TEST_EDX, NOP, &[0xeb, 0xfd]]);
        assert_eq!(entry(&around), None);
        // je over the push.
        assert_eq!(entry(&body(&[TEST_EDX, &[0x74, 2], PUSH_R13, RET])), Some(2), "the je itself");
        // jmp *%rax may lead to a nop, but not to where registers are saved.
        assert_eq!(entry(&body(&[TEST_EDX, NOP, &[0xff, 0xe0]])), None);
        assert_eq!(entry(&body(&[TEST_EDX, PUSH_R13, &[0xff, 0xe0]])), Some(2));
    }

    #[test]
    fn a_way_out_is_seen_where_the_stack_protector_looks() {
        let jne_fail: &[u8] = &[0x75, 5];
        let whole = [SUB_RSP, NOP, XOR_EAX, CANARY, jne_fail, ADD_RSP, RET, CALL_OUT];
        assert_eq!(returns(&body(&whole)), Some(vec![16]));
        assert_eq!(entry(&body(&whole)), Some(4));
        let shallow = [NOP, SUB_RSP, XOR_EAX, CANARY, jne_fail, ADD_RSP, RET, CALL_OUT];
        assert_eq!(returns(&body(&shallow)), Some(vec![22]), "deeper than at any entry");
        let both = [NOP, SUB_RSP, NOP, XOR_EAX, CANARY, jne_fail, ADD_RSP, RET, CALL_OUT];
        assert_eq!((entry(&body(&both)), returns(&body(&both))), (Some(5), Some(vec![17])));
        let later = [SUB_RSP, CANARY, &[0x75, 7], XOR_EAX, ADD_RSP, RET, CALL_OUT];
        assert_eq!(returns(&body(&later)), Some(vec![21]), "the result comes after the look");
        let other = [SUB_RSP, XOR_EAX, TEST_EDX, jne_fail, ADD_RSP, RET, CALL_OUT];
        assert_eq!(returns(&body(&other)), Some(vec![14]), "another jump may lead anywhere");
        // jmp past the look, to the add.
        let past = [XOR_EAX, &[0x74, 11], CANARY, jne_fail, ADD_RSP, RET, CALL_OUT];
        assert_eq!(returns(&body(&past)), Some(vec![19]));
    }

    #[test]
    fn ways_out_that_are_not_known_are_owned_up_to() {
        assert_eq!(returns(&body(&[XOR_EAX, RET, XOR_EDX, RET])), Some(vec![2, 5]));
        assert_eq!(returns(&body(&[XOR_EAX, RET, &[0xe9, 0, 1, 0, 0]])), None, "jumps out");
        assert_eq!(returns(&body(&[XOR_EAX, RET, &[0xff, 0xe0]])), None, "jumps anywhere");
        assert_eq!(returns(&body(&[XOR_EAX, RET, XOR_EAX])), None, "falls into what follows");
        assert_eq!(returns(&body(&[CALL_OUT])), None, "never returns");
        assert!(Body::decode(&[0x06], 0).is_none(), "no instruction");
        assert!(Body::decode(&[0xeb, 0xff, 0xc3], 0).is_none(), "into an instruction");
    }

    #[test]
    fn of_a_function_of_unknown_size_only_the_start_is_trusted() {
        let start = |parts: &[&[u8]]| Body::start(&parts.concat(), 0).map(|body| entry(&body));
        assert_eq!(start(&[ENDBR64, PUSH_R13, XOR_EAX, RET, &[0x06]]), Some(Some(4)));
        assert_eq!(start(&[XOR_EAX, NOP, RET]), Some(None), "a jump may lead to the nop");
        assert_eq!(start(&[TEST_EDX, JS_NEXT, RET]), Some(None));
        assert_eq!(start(&[RET]), None);
        assert_eq!(Body::start(&[PUSH_R13, RET].concat(), 0).and_then(|body| body.returns()), None);
    }

    #[test]
    fn a_function_that_only_jumps_on_is_told() {
        const JUMP_OUT: &[u8] = &[0xe9, 0, 1, 0, 0];
        assert!(body(&[XOR_EDX, JUMP_OUT]).forwards());
        assert!(!body(&[CALL_OUT, JUMP_OUT]).forwards());
        assert!(!body(&[TEST_EDX, &[0x74, 5], JUMP_OUT, RET]).forwards());
        assert!(!body(&[XOR_EDX, RET]).forwards());
    }

    #[test]
    fn a_go_function_is_seen_after_it_looked_at_its_stack() {
        // cmp 0x10(%r14),%rsp; jbe; push %rbp; ret; call; jmp to the start.
        let look: &[u8] = &[0x49, 0x3b, 0x66, 0x10, 0x76, 2];
        let grows: &[u8] = &[0xe8, 0, 1, 0, 0, 0xeb, 0xf1];
        let body = body(&[look, &[0x55], RET, grows]);
        assert_eq!(body.go_entry(super::GO_ARGUMENTS).unwrap().address, 6);
        assert_eq!(body.entry(super::GO_ARGUMENTS).unwrap().address, 4);
    }
}
