//! Damaged and crafted inputs from good ones, the same for the same seed.

/// Numbers at the edges of types, and too large for any file.
const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "2",
    "65536",
    "1000000",
    "2147483648",
    "4611686018427387904",
    "9223372036854775808",
    "18446744073709551615",
    "1e308",
    "-1e-308",
    "0.5",
    "null",
];

/// Texts that a path, an id or a terminal must not take as they are.
const TEXTS: [&str; 10] = [
    "",
    "../../x",
    "/",
    "C:\\x",
    "\\u0000",
    "\\u001b[31m",
    "<dog>",
    "{}{}",
    "\u{1F415}",
    "\u{feff}",
];

/// A source of mutations.
#[derive(Debug)]
pub struct Mutator(u64);

impl Mutator {
    /// A source that depends on nothing but its seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of the inputs with one to four changes.
    ///
    /// # Panics
    /// If there are no inputs.
    pub fn mutate(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, inputs);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let range = self.range(bytes.len());
        match self.below(8) {
            0 => bytes.truncate(range.start),
            1 => drop(bytes.drain(range)),
            2 => drop(bytes.splice(range.end..range.end, bytes[range].to_vec())),
            3 => {
                let other = &inputs[self.below(inputs.len())];
                let part = other[self.range(other.len())].to_vec();
                drop(bytes.splice(range, part));
            }
            4 => {
                let number = NUMBERS[self.below(NUMBERS.len())];
                replace_run(bytes, range.start, |byte| byte.is_ascii_digit(), number);
            }
            5 => {
                let text = TEXTS[self.below(TEXTS.len())];
                replace_run(bytes, range.start, |byte| !b"\"\n,".contains(&byte), text);
            }
            6 if !range.is_empty() => bytes[range.start] ^= 1 << self.below(8),
            _ if !range.is_empty() => bytes[range.start] = self.next() as u8,
            _ => bytes.push(self.next() as u8),
        }
    }

    /// A part of so many bytes, mostly a short one.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let longest = [1, 8, 64, length][self.below(4)];
        start..(start + self.below(longest + 1)).min(length)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// SplitMix64 (Steele, Lea and Flood 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// Replaces the first run of such bytes at or after a place.
fn replace_run(bytes: &mut Vec<u8>, from: usize, is_part: impl Fn(u8) -> bool, by: &str) {
    let Some(start) = bytes[from..].iter().position(|byte| is_part(*byte)) else { return };
    let start = from + start;
    let length = bytes[start..].iter().take_while(|byte| is_part(**byte)).count();
    bytes.splice(start..start + length, by.bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_again() {
        let inputs = [b"{\"steps\": 10}".to_vec(), Vec::new()];
        let some = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..200).map(|_| mutator.mutate(&inputs)).collect::<Vec<_>>()
        };
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
        let with_number = |input: &Vec<u8>| input.windows(7).any(|part| part == b"1000000");
        assert!(some(1).iter().any(with_number));
    }
}
