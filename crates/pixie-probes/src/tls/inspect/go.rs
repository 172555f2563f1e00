//! Go's `crypto/tls`.

use super::refused;
use crate::tls::target::{Abi, AttachPoint, Call, Library, Refusal, Returns, Target};
use pixie_symbols::ElfFile;

const FUNCTIONS: &[(&str, Call)] = &[
    ("crypto/tls.(*Conn).Read", Call::Read),
    ("crypto/tls.(*Conn).Write", Call::Write),
    // What does the handshake, and not what every call asks whether it is done.
    ("crypto/tls.(*Conn).clientHandshake", Call::Handshake),
    ("crypto/tls.(*Conn).serverHandshake", Call::Handshake),
    ("crypto/tls.(*Conn).Close", Call::Free),
];

/// The target that a program built by Go is, if it has `crypto/tls` in it.
///
/// A return probe is never used: it replaces the return address on a stack that Go moves, and looks
/// through.
pub(super) fn inspect(file: &ElfFile) -> Result<Option<Target>, Refusal> {
    let names: Vec<&str> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
    let go = match file.go_functions(&names) {
        Ok(Some(go)) => go,
        Ok(None) => return Ok(None),
        Err(error) => return Err(refused(Library::Go, error.to_string())),
    };
    let has = |name: &str| go.functions.iter().any(|function| function.name == name);
    if !has("crypto/tls.(*Conn).Read") && !has("crypto/tls.(*Conn).Write") {
        return Ok(None);
    }
    let (mut points, mut notes) = (Vec::new(), Vec::new());
    for function in &go.functions {
        let Some((_, call)) = FUNCTIONS.iter().find(|(name, _)| *name == function.name) else {
            continue;
        };
        match &function.points {
            Ok(places) => points.push(AttachPoint {
                call: *call,
                entry: places.entry.offset,
                returns: match call {
                    Call::Free => Returns::None,
                    _ => Returns::At(places.returns.clone()),
                },
                // Of others it does not matter what they cost.
                deferred: match call {
                    Call::Read | Call::Write => places.deferred.clone(),
                    _ => None,
                },
                symbol: function.name.clone(),
            }),
            Err(error) if matches!(call, Call::Read | Call::Write) => {
                return Err(refused(Library::Go, format!("{}: {error}", function.name)));
            }
            Err(error) => notes.push(format!("{}: {error}", function.name)),
        }
    }
    if go.info.as_ref().is_some_and(|info| info.experiment("boringcrypto")) {
        notes.push("built with boringcrypto".to_owned());
    }
    Ok(Some(Target {
        library: Library::Go,
        abi: if go.registers { Abi::GoRegisters } else { Abi::GoStack },
        version: go.info.map(|info| info.version),
        points,
        notes,
    }))
}
