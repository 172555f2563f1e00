//! The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length follow each other in the order of symbols, and longer
//! codes follow shorter ones. So the lengths say everything.

/// The symbol that no string may have.
const END_OF_STRING: usize = 256;

const SYMBOLS: usize = END_OF_STRING + 1;

/// The longest code, in bits.
const LONGEST: usize = 30;

/// The length of each symbol's code, in bits.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];

static CODE: Code = Code::new();

struct Code {
    /// The symbol and the length of the code that these eight bits start with; the length is 0
    /// where it is longer than that.
    short: [(u8, u8); 256],
    /// All symbols by their codes.
    symbols: [u16; SYMBOLS],
    /// Of each length: the first code, how many there are, and the place of the first in `symbols`.
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    place: [u32; LONGEST + 1],
}

impl Code {
    const fn new() -> Self {
        let mut code = Self {
            short: [(0, 0); 256],
            symbols: [0; SYMBOLS],
            first: [0; LONGEST + 1],
            count: [0; LONGEST + 1],
            place: [0; LONGEST + 1],
        };
        let (mut next, mut place, mut length) = (0_u32, 0, 1);
        while length <= LONGEST {
            next <<= 1;
            code.first[length] = next;
            code.place[length] = place as u32;
            let mut symbol = 0;
            while symbol < SYMBOLS {
                if LENGTHS[symbol] as usize == length {
                    code.symbols[place] = symbol as u16;
                    if length <= 8 {
                        code.fill_short(next, length, symbol as u8);
                    }
                    next += 1;
                    place += 1;
                }
                symbol += 1;
            }
            code.count[length] = next - code.first[length];
            length += 1;
        }
        code
    }

    /// All that starts with this code.
    const fn fill_short(&mut self, code: u32, length: usize, symbol: u8) {
        let start = (code as usize) << (8 - length);
        let mut place = start;
        while place < start + (1 << (8 - length)) {
            self.short[place] = (symbol, length as u8);
            place += 1;
        }
    }

    /// The symbol whose code these bits, the first one highest, start with, and its length.
    #[inline]
    fn symbol(&self, bits: u64) -> Option<(u16, u32)> {
        match self.short.get((bits >> 56) as usize) {
            Some(&(symbol, length)) if length != 0 => Some((symbol.into(), length.into())),
            _ => self.long_symbol(bits),
        }
    }

    fn long_symbol(&self, bits: u64) -> Option<(u16, u32)> {
        (9..=LONGEST).find_map(|length| {
            let code = u32::try_from(bits >> (64 - length)).ok()?;
            let nth = code.checked_sub(*self.first.get(length)?)?;
            let place = self.place.get(length)?.checked_add(nth)?;
            let found = nth < *self.count.get(length)?;
            let symbol = found.then(|| self.symbols.get(place as usize)).flatten()?;
            Some((*symbol, length as u32))
        })
    }
}

/// The bytes are not what the code allows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invalid;

/// Appends what these bytes stand for.
pub(crate) fn decode(bytes: &[u8], output: &mut Vec<u8>) -> Result<(), Invalid> {
    let mut bytes = bytes.iter();
    // Bits that were read and not used, the first one highest, and how many.
    let (mut bits, mut held) = (0_u64, 0_u32);
    loop {
        while held <= 56 {
            let Some(byte) = bytes.next() else { break };
            bits |= u64::from(*byte) << (56 - held);
            held += 8;
        }
        if held == 0 {
            return Ok(());
        }
        let symbol = CODE.symbol(bits);
        let Some((symbol, length)) = symbol.filter(|(_, length)| *length <= held) else {
            // What is left must be the start of the end-of-string symbol: ones.
            let is_padding = held < 8 && bits == !(u64::MAX >> held);
            return if is_padding { Ok(()) } else { Err(Invalid) };
        };
        output.push(u8::try_from(symbol).map_err(|_| Invalid)?);
        bits <<= length;
        held -= length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = String::new();
        for &byte in text {
            let length = usize::from(LENGTHS[usize::from(byte)]);
            let nth = CODE.symbols.iter().position(|&symbol| symbol == u16::from(byte)).unwrap();
            let code = CODE.first[length] + (nth as u32 - CODE.place[length]);
            bits += &format!("{code:0length$b}");
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        let byte = |bits: &[u8]| u8::from_str_radix(std::str::from_utf8(bits).unwrap(), 2).unwrap();
        bits.as_bytes().chunks(8).map(byte).collect()
    }

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, Invalid> {
        let mut output = Vec::new();
        decode(bytes, &mut output).map(|()| output)
    }

    #[test]
    fn codes_are_those_of_the_appendix() {
        // RFC 7541, appendix B: the first, the last, and some between.
        assert_eq!(encode(b"0"), [0b0000_0111]);
        assert_eq!(encode(b"\0"), [0b1111_1111, 0b1100_0111]);
        assert_eq!(encode(b"\\"), [0b1111_1111, 0b1111_1110, 0b0001_1111]);
        assert_eq!(encode(b"\x16"), [0xff, 0xff, 0xff, 0xfb]);
        assert_eq!(encode(b"Z"), [0xfd]);
        assert_eq!(CODE.symbols.last(), Some(&256));
        assert_eq!((CODE.first[30], CODE.count[30]), (0x3fff_fffc, 4));
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decoded(&encode(&all)), Ok(all));
    }

    #[test]
    fn padding_is_short_and_of_ones() {
        assert_eq!(decoded(&[0b0001_1111]), Ok(b"a".to_vec()));
        assert_eq!(decoded(&[0b0001_1110]), Err(Invalid));
        assert_eq!(decoded(&[0b0001_1111, 0xff]), Err(Invalid));
        assert_eq!(decoded(&[0xff]), Err(Invalid));
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(Invalid), "the end-of-string symbol");
    }
}
