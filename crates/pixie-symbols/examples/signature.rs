//! Writes signatures of functions, in the form that `Signatures::parse` reads.
//!
//! ```text
//! signature [--fields] [--origin WORDS] [--text END]... FILE NAME[+MORE | =ADDRESS,SIZE]...
//! ```
//!
//! FILE is best an object that was compiled from the same sources, with the same compiler and options,
//! as what the signature is to match. It can also be a program with symbols, or one without: then the
//! caller knows where its functions are. `+MORE` takes as many bytes more, from what comes after a
//! function that is too short to be told from others.
//!
//! What differs from build to build becomes a wildcard: distances to what is elsewhere, line numbers
//! (which compilers pass as fifth argument), and where in structures fields are, unless `--fields`
//! keeps them. References to the functions that are named, and to texts that end in END, are kept as
//! what they are.
#![allow(clippy::print_stdout, reason = "this is a program")]

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use object::elf::{R_X86_64_GOTPCRELX, R_X86_64_REX_GOTPCRELX};
use object::read::{File, Object, ObjectSection, ObjectSymbol, RelocationTarget};
use object::{ObjectKind, RelocationFlags, SectionIndex};
use std::collections::BTreeMap;
use std::error::Error;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long a line is written at most.
const WIDTH: usize = 100;

#[derive(Default)]
struct Options {
    fields: bool,
    origin: String,
    texts: Vec<String>,
}

/// A function, and where it is.
struct Function {
    name: String,
    section: SectionIndex,
    address: u64,
    size: u64,
}

fn main() -> Result<()> {
    let mut options = Options::default();
    let mut rest = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--fields" => options.fields = true,
            "--origin" => options.origin = value()?,
            "--text" => options.texts.push(value()?),
            _ => rest.push(argument),
        }
    }
    let (path, names) = rest.split_first().ok_or("which file?")?;
    let bytes = std::fs::read(path)?;
    let file = File::parse(&*bytes)?;
    let functions = names.iter().map(|name| find(&file, name)).collect::<Result<Vec<_>>>()?;
    for function in &functions {
        println!("{} {}", function.name, options.origin);
        let mut line = "   ".to_owned();
        for word in words(&file, function, &functions, &options)? {
            if line.len() + 1 + word.len() > WIDTH {
                println!("{line}");
                line.truncate(3);
            }
            line = line + " " + &word;
        }
        println!("{line}");
    }
    Ok(())
}

fn find(file: &File<'_>, wanted: &str) -> Result<Function> {
    if let Some((name, place)) = wanted.split_once('=') {
        let (address, size) = place.split_once(',').ok_or("NAME=ADDRESS,SIZE")?;
        let (address, size) = (number(address)?, number(size)?);
        let holds = |start: u64, size: u64| (start..start + size).contains(&address);
        let section = file.sections().find(|section| holds(section.address(), section.size()));
        let section = section.ok_or("no section has this address")?.index();
        return Ok(Function { name: name.to_owned(), section, address, size });
    }
    let (name, more) = wanted.split_once('+').unwrap_or((wanted, "0"));
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name) && symbol.is_definition());
    let symbol = symbol.ok_or_else(|| format!("there is no {name}"))?;
    Ok(Function {
        name: name.to_owned(),
        section: symbol.section_index().ok_or("a function is in a section")?,
        address: symbol.address(),
        size: symbol.size() + number(more)?,
    })
}

fn number(text: &str) -> Result<u64> {
    Ok(match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16)?,
        None => text.parse()?,
    })
}

/// A function's bytes as words.
fn words(
    file: &File<'_>,
    function: &Function,
    functions: &[Function],
    options: &Options,
) -> Result<Vec<String>> {
    let section = file.section_by_index(function.section)?;
    let code = section.data_range(function.address, function.size)?.ok_or("it has no bytes")?;
    let mut words: Vec<String> = code.iter().map(|byte| format!("{byte:02x}")).collect();
    let relocated = relocated(file, function, functions, options)?;
    let mut decoder = Decoder::with_ip(64, code, function.address, DecoderOptions::NONE);
    while decoder.can_decode() {
        let at = decoder.position();
        let instruction = decoder.decode();
        let parts = decoder.get_constant_offsets(&instruction);
        let linked = |place: usize| relocated.get(&(place as u64)).cloned();
        if parts.has_displacement() {
            let place = at + parts.displacement_offset();
            let word = if instruction.is_ip_rel_memory_operand() {
                let target = instruction.ip_rel_memory_address();
                Some(linked(place).unwrap_or_else(|| {
                    text(file, target, options).map_or("??".into(), |end| format!("<\"{end}\">"))
                }))
            } else {
                let on_stack = instruction.memory_base() == Register::RSP;
                let moves = on_stack || instruction.mnemonic() == Mnemonic::Nop || options.fields;
                (!moves).then(|| "??".to_owned())
            };
            put(&mut words, place, parts.displacement_size(), word);
        }
        if parts.has_immediate() {
            let place = at + parts.immediate_offset();
            let word = immediate(file, function, functions, &instruction, options);
            put(&mut words, place, parts.immediate_size(), linked(place).or(word));
        }
    }
    for place in relocated.iter().filter(|(_, word)| *word == "??").map(|(place, _)| *place) {
        put(&mut words, usize::try_from(place)?, 1, Some("??".to_owned()));
    }
    words.retain(|word| !word.is_empty());
    while words.last().is_some_and(|last| last == "cc" || last == "90") {
        words.pop();
    }
    Ok(words)
}

/// What an immediate operand, or the distance of a branch, is written as, if not as it is.
fn immediate(
    file: &File<'_>,
    function: &Function,
    functions: &[Function],
    instruction: &Instruction,
    options: &Options,
) -> Option<String> {
    if matches!(instruction.op0_kind(), OpKind::NearBranch64) {
        let target = instruction.near_branch64();
        let inside = (function.address..function.address + function.size).contains(&target);
        let named = functions.iter().find(|other| other.address == target);
        return match named {
            _ if inside => None,
            Some(other) => Some(format!("<{}>", other.name)),
            None => Some("??".to_owned()),
        };
    }
    if instruction.mnemonic() != Mnemonic::Mov || instruction.op1_kind() != OpKind::Immediate32 {
        return None;
    }
    if instruction.op0_register() == Register::R8D {
        return Some("??".to_owned());
    }
    let end = text(file, u64::from(instruction.immediate32()), options)?;
    Some(format!("=\"{end}\""))
}

/// Puts a word where there were `size` bytes.
fn put(words: &mut [String], place: usize, size: usize, word: Option<String>) {
    let Some(word) = word else { return };
    for (index, old) in words.iter_mut().skip(place).take(size).enumerate() {
        // What stands for all of them is written once.
        *old = if word == "??" || index == 0 { word.clone() } else { String::new() };
    }
}

/// The end that a text at this address has, if it is one of those that are asked for.
fn text(file: &File<'_>, address: u64, options: &Options) -> Option<String> {
    // In an object nothing is where it will be.
    if file.kind() == ObjectKind::Relocatable {
        return None;
    }
    let mut sections = file.sections();
    let bytes = sections.find_map(|section| {
        let rest = (section.address() + section.size()).checked_sub(address)?;
        section.data_range(address, rest).ok().flatten()
    })?;
    end_of(bytes, options)
}

fn end_of(bytes: &[u8], options: &Options) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    options.texts.iter().find(|end| text.ends_with(end.as_bytes())).cloned()
}

/// What the linker would put in, by its place in the function.
fn relocated(
    file: &File<'_>,
    function: &Function,
    functions: &[Function],
    options: &Options,
) -> Result<BTreeMap<u64, String>> {
    let section = file.section_by_index(function.section)?;
    let mut places = BTreeMap::new();
    for (at, relocation) in section.relocations() {
        let Some(place) = at.checked_sub(function.address).filter(|at| *at < function.size) else {
            continue;
        };
        let RelocationTarget::Symbol(index) = relocation.target() else { continue };
        let symbol = file.symbol_by_index(index)?;
        // Distances are from the end of their four bytes on, and relocations make up for it.
        let distance = symbol.address() as i64 + relocation.addend() + 4;
        let text = symbol.section_index().and_then(|index| {
            let data = file.section_by_index(index).ok()?.data().ok()?;
            end_of(data.get(usize::try_from(distance).ok()?..)?, options)
        });
        let named = |name: &str| functions.iter().any(|function| function.name == name);
        let word = match (text, symbol.name()) {
            (Some(end), _) => format!("<\"{end}\">"),
            (None, Ok(name)) if named(name) => format!("<{name}>"),
            _ => "??".to_owned(),
        };
        places.insert(place, word);
        // Linkers turn loads from the table of addresses into what needs no load: R_X86_64_GOTPCRELX
        // and R_X86_64_REX_GOTPCRELX of the AMD64 supplement of the System V ABI.
        if let RelocationFlags::Elf { r_type: R_X86_64_GOTPCRELX | R_X86_64_REX_GOTPCRELX } =
            relocation.flags()
        {
            places.extend([1, 2].map(|before| (place.saturating_sub(before), "??".to_owned())));
        }
    }
    Ok(places)
}
