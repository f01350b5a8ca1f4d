//! Bencoded dictionaries: what routers say to each other in. Source: CJDNS-WIRE.md §6.3.
//!
//! Own, because the crates do not fit: `bendy` refuses the leading zeros that stock nodes pad with and keys out of order,
//! both of which must be taken; `serde_bencode` copies every string, recurses as deep as the input says, and wants one type
//! for each key. Here nothing is copied, and what a dictionary may hold is bounded.

use std::fmt;

/// Most keys of a dictionary that are kept; stock messages have at most ten.
pub const KEYS_MAX: usize = 24;
/// Deepest nesting below the dictionary; its content is checked for form and not kept.
const DEPTH_MAX: usize = 8;
/// Longest number, zeros in front included.
const DIGITS_MAX: usize = 64;

/// What a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer.
    Integer(i64),
    /// A string of bytes.
    Bytes(&'a [u8]),
    /// A list or dictionary, which no message has a use for.
    Nested,
}

/// Bytes that are no dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// It does not begin with `d`, or ends too early, or has something else in it.
    #[error("bencode: no well-formed dictionary")]
    Form,
    /// Too many keys, too deep, or a number of too many digits.
    #[error("bencode: {KEYS_MAX} keys, {DEPTH_MAX} levels and {DIGITS_MAX} digits are allowed")]
    Bound,
    /// Beyond 64 bits with sign.
    #[error("bencode: a number beyond 64 bits")]
    Number,
}

/// A dictionary, its strings borrowed from the bytes it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dictionary<'a> {
    entries: Vec<(&'a [u8], Value<'a>)>,
}

impl<'a> Dictionary<'a> {
    /// Reads a dictionary and ignores what follows it. Leading zeros and keys in any order are taken.
    ///
    /// # Errors
    /// [`Bad`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Bad> {
        let mut reader = Reader { rest: bytes };
        if reader.byte()? != b'd' {
            return Err(Bad::Form);
        }
        let mut entries = Vec::new();
        while reader.peek()? != b'e' {
            let key = reader.string()?;
            let value = reader.value(0)?;
            if entries.len() == KEYS_MAX {
                return Err(Bad::Bound);
            }
            entries.push((key, value));
        }
        Ok(Self { entries })
    }

    /// What `key` stands for; of a key that is there twice, the first.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Value<'a>> {
        let mut entries = self.entries.iter();
        entries.find(|(known, _)| *known == key.as_bytes()).map(|(_, value)| *value)
    }

    /// The string of `key`.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Option<&'a [u8]> {
        match self.value(key)? {
            Value::Bytes(bytes) => Some(bytes),
            Value::Integer(_) | Value::Nested => None,
        }
    }

    /// The integer of `key`.
    #[must_use]
    pub fn integer(&self, key: &str) -> Option<i64> {
        match self.value(key)? {
            Value::Integer(number) => Some(number),
            Value::Bytes(_) | Value::Nested => None,
        }
    }
}

/// A dictionary being written. Keys are sorted by [`Self::finish`].
#[derive(Clone, Default)]
pub struct Writer {
    entries: Vec<(&'static str, Vec<u8>)>,
}

impl Writer {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a string.
    #[must_use]
    pub fn bytes(mut self, key: &'static str, value: &[u8]) -> Self {
        let mut text = value.len().to_string().into_bytes();
        text.push(b':');
        text.extend(value);
        self.entries.push((key, text));
        self
    }

    /// Adds an integer.
    #[must_use]
    pub fn integer(mut self, key: &'static str, value: i64) -> Self {
        self.entries.push((key, format!("i{value}e").into_bytes()));
        self
    }

    /// Appends the dictionary to `out`.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.entries.sort_unstable_by_key(|(key, _)| *key);
        out.push(b'd');
        for (key, value) in self.entries {
            out.extend(key.len().to_string().into_bytes());
            out.push(b':');
            out.extend(key.as_bytes());
            out.extend(value);
        }
        out.push(b'e');
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.iter().map(|(key, _)| key)).finish()
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Result<u8, Bad> {
        self.rest.first().copied().ok_or(Bad::Form)
    }

    fn byte(&mut self) -> Result<u8, Bad> {
        let (first, rest) = self.rest.split_first().ok_or(Bad::Form)?;
        self.rest = rest;
        Ok(*first)
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, Bad> {
        match self.peek()? {
            b'i' => {
                self.byte()?;
                self.number(b'e').map(Value::Integer)
            }
            b'l' | b'd' if depth == DEPTH_MAX => Err(Bad::Bound),
            b'l' => {
                self.byte()?;
                while self.peek()? != b'e' {
                    self.value(depth + 1)?;
                }
                self.byte().map(|_end| Value::Nested)
            }
            b'd' => {
                self.byte()?;
                while self.peek()? != b'e' {
                    self.string()?;
                    self.value(depth + 1)?;
                }
                self.byte().map(|_end| Value::Nested)
            }
            _ => self.string().map(Value::Bytes),
        }
    }

    fn string(&mut self) -> Result<&'a [u8], Bad> {
        if !self.peek()?.is_ascii_digit() {
            return Err(Bad::Form);
        }
        let len = usize::try_from(self.number(b':')?).ok().ok_or(Bad::Form)?;
        let (string, rest) = self.rest.split_at_checked(len).ok_or(Bad::Form)?;
        self.rest = rest;
        Ok(string)
    }

    /// Digits, perhaps after a sign, up to `end`.
    fn number(&mut self, end: u8) -> Result<i64, Bad> {
        let negative = self.peek()? == b'-';
        if negative {
            self.byte()?;
        }
        let mut value = 0_i64;
        for digits in 0.. {
            let byte = self.byte()?;
            if byte == end {
                return if digits > 0 { Ok(value) } else { Err(Bad::Form) };
            }
            if !byte.is_ascii_digit() {
                return Err(Bad::Form);
            }
            if digits == DIGITS_MAX {
                return Err(Bad::Bound);
            }
            let digit = i64::from(byte - b'0');
            let shifted = value.checked_mul(10);
            // Built up with its sign, so that the smallest number has room.
            value = shifted
                .and_then(|shifted| {
                    if negative { shifted.checked_sub(digit) } else { shifted.checked_add(digit) }
                })
                .ok_or(Bad::Number)?;
        }
        Err(Bad::Form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(writer: Writer) -> Vec<u8> {
        let mut out = Vec::new();
        writer.finish(&mut out);
        out
    }

    #[test]
    fn zeros_in_front_and_keys_out_of_order_are_taken() {
        let dictionary =
            Dictionary::parse(b"d0002:eii000e1:q002:pn1:pi-0022e4:listl1:ad1:bi1eeeetail").unwrap();
        assert_eq!(dictionary.integer("ei"), Some(0));
        assert_eq!(dictionary.bytes("q"), Some(&b"pn"[..]));
        assert_eq!(dictionary.integer("p"), Some(-22));
        assert_eq!(dictionary.value("list"), Some(Value::Nested));
        assert_eq!(dictionary.bytes("ei"), None);
        assert_eq!(dictionary.value("x"), None);
    }

    #[test]
    fn what_is_no_dictionary_is_refused() {
        for bytes in [
            &b""[..],
            b"d",
            b"e",
            b"le",
            b"d1:a",
            b"d1:ae",
            b"d1:ai1e",
            b"d1:aie1:b",
            b"d1:ai-ee",
            b"d1:a2:be",
            b"d-1:ai1ee",
            b"di1e1:ae",
            b"d1:ai1-2ee",
            b"d99999999999999999999:ae",
            b"d9223372036854775807:ae",
        ] {
            assert!(Dictionary::parse(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        let deep = [&b"d1:a"[..], &[b'l'; 9], &[b'e'; 10]].concat();
        assert_eq!(Dictionary::parse(&deep), Err(Bad::Bound));
        let many = [&b"d"[..], &b"1:ai1e".repeat(KEYS_MAX + 1), b"e"].concat();
        assert_eq!(Dictionary::parse(&many), Err(Bad::Bound));
        let zeros = [&b"d1:ai"[..], &[b'0'; DIGITS_MAX + 1], b"ee"].concat();
        assert_eq!(Dictionary::parse(&zeros), Err(Bad::Bound));
        assert_eq!(Dictionary::parse(b"d1:ai9223372036854775808ee"), Err(Bad::Number));
        assert_eq!(
            Dictionary::parse(b"d1:ai-9223372036854775808ee").unwrap().integer("a"),
            Some(i64::MIN)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(prop::sample::select(b"dli0123456789:-eab".to_vec()), 0..64)
        ) {
            let read = Dictionary::parse(&bytes);
            let with_tail = [&bytes[..], b"x"].concat();
            if let Ok(dictionary) = read {
                prop_assert_eq!(Dictionary::parse(&with_tail), Ok(dictionary));
            }
        }

        #[test]
        fn what_is_written_is_read(number in any::<i64>(), bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let out = written(Writer::new().bytes("txid", &bytes).integer("p", number));
            let dictionary = Dictionary::parse(&out).unwrap();
            prop_assert_eq!(dictionary.bytes("txid"), Some(&bytes[..]));
            prop_assert_eq!(dictionary.integer("p"), Some(number));
            prop_assert!(out.starts_with(b"d1:p"));
        }
    }
}
