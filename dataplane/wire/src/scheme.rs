//! Encoding schemes: how the low bits of a label name an interface. Source: CJDNS-WIRE.md §4.1, §4.4 to §4.7.
//!
//! A scheme is an ordered list of forms. A director of a form is `data << prefix_len | prefix`. v358 and v48, known
//! by their forms, number their interfaces in their own way; every other scheme numbers them by the data. In every
//! scheme the director with the value 1 is the switch itself, interface 1.

use crate::label;

/// One width of director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Bits of data.
    pub bit_count: u8,
    /// Bits of prefix, below the data.
    pub prefix_len: u8,
    /// Says which form it is.
    pub prefix: u32,
}

impl Form {
    /// Bits of a director of this form.
    #[inline]
    #[must_use]
    pub const fn width(self) -> u8 {
        self.bit_count + self.prefix_len
    }

    const fn data(self, label: u64) -> u64 {
        (label >> self.prefix_len) & low_bits(self.bit_count)
    }

    const fn director(self, data: u64) -> u64 {
        (data << self.prefix_len) | self.prefix as u64
    }

    const fn matches(self, label: u64) -> bool {
        label & low_bits(self.prefix_len) == self.prefix as u64
    }
}

/// What a label begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The interface; 1 is the switch itself.
    pub number: u16,
    /// Bits of the director.
    pub width: u8,
    /// Index of its form.
    pub form: u8,
}

/// An encoding scheme that passed [`Scheme::from_forms`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    forms: Vec<Form>,
    numbering: Numbering,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbering {
    V358,
    V48,
    Data,
}

/// Forms that make no scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// 1 to 31.
    #[error("encoding scheme of {0} forms: 1 to 31 are allowed")]
    Forms(usize),
    /// A single form has no prefix, several all have one.
    #[error("encoding form {form}: prefix of {found} bits, {allowed} is allowed here")]
    PrefixLen {
        /// Index of the form.
        form: usize,
        /// Its prefix length.
        found: u8,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The prefix does not fit its length.
    #[error("encoding form {form}: prefix {prefix:#x} is longer than its {prefix_len} bits")]
    Prefix {
        /// Index of the form.
        form: usize,
        /// The prefix.
        prefix: u32,
        /// Its bits.
        prefix_len: u8,
    },
    /// 1 to 31, ascending.
    #[error(
        "encoding form {form}: {found} bits of data; 1 to 31 are allowed, more than in the form before"
    )]
    BitCount {
        /// Index of the form.
        form: usize,
        /// Its bits of data.
        found: u8,
    },
    /// At most 59.
    #[error("encoding form {form}: directors of {width} bits, at most 59 are allowed")]
    Width {
        /// Index of the form.
        form: usize,
        /// Its width.
        width: u8,
    },
    /// Two forms could not be told apart.
    #[error("encoding forms {a} and {b}: the prefix of one begins with that of the other")]
    Ambiguous {
        /// Index of one.
        a: usize,
        /// Index of the other.
        b: usize,
    },
    /// No form has a director of value 1.
    #[error(
        "encoding scheme without a director for the switch itself: no form's prefix is 1 or empty"
    )]
    NoSelf,
    /// Serialized bytes that end within a form, or have bits after the last.
    #[error(
        "serialized encoding scheme of {0} bytes: a form is cut short, or bits follow the last"
    )]
    Serialized(usize),
}

const V358: [Form; 3] = [
    Form { bit_count: 3, prefix_len: 1, prefix: 0b1 },
    Form { bit_count: 5, prefix_len: 2, prefix: 0b10 },
    Form { bit_count: 8, prefix_len: 2, prefix: 0b00 },
];
const V48: [Form; 2] = [
    Form { bit_count: 4, prefix_len: 1, prefix: 0b1 },
    Form { bit_count: 8, prefix_len: 1, prefix: 0b0 },
];

const FORMS_MAX: usize = 31;
const BIT_COUNT_MAX: u8 = 31;
const WIDTH_MAX: u8 = 59;

impl Scheme {
    /// 4, 7 and 10 bits; the network's default.
    #[must_use]
    pub fn v358() -> Self {
        Self { forms: V358.to_vec(), numbering: Numbering::V358 }
    }

    /// 5 and 9 bits.
    #[must_use]
    pub fn v48() -> Self {
        Self { forms: V48.to_vec(), numbering: Numbering::V48 }
    }

    /// Fixed 4 bits.
    #[must_use]
    pub fn f4() -> Self {
        Self {
            forms: vec![Form { bit_count: 4, prefix_len: 0, prefix: 0 }],
            numbering: Numbering::Data,
        }
    }

    /// Fixed 8 bits.
    #[must_use]
    pub fn f8() -> Self {
        Self {
            forms: vec![Form { bit_count: 8, prefix_len: 0, prefix: 0 }],
            numbering: Numbering::Data,
        }
    }

    /// The scheme with these forms.
    ///
    /// # Errors
    /// [`SchemeError`] unless the forms can be told apart and one of them has a director for the switch itself.
    pub fn from_forms(forms: &[Form]) -> Result<Self, SchemeError> {
        check(forms)?;
        let numbering = match forms {
            forms if forms == V358 => Numbering::V358,
            forms if forms == V48 => Numbering::V48,
            _ => Numbering::Data,
        };
        Ok(Self { forms: forms.to_vec(), numbering })
    }

    /// Reads a serialized scheme (`es` strings, announcements): for each form, from the least significant bit on,
    /// 5 bits of prefix length, 5 of bit count, the prefix.
    ///
    /// # Errors
    /// [`SchemeError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SchemeError> {
        let malformed = SchemeError::Serialized(bytes.len());
        let mut bits = BitReader { bytes, at: 0 };
        let mut forms = Vec::new();
        loop {
            let start = bits;
            let prefix_len = bits.take(5);
            let bit_count = bits.take(5);
            let Some((prefix_len, bit_count)) =
                prefix_len.zip(bit_count).filter(|(_, bit_count)| *bit_count != 0)
            else {
                if start.rest_is_zero() {
                    break;
                }
                return Err(malformed);
            };
            if forms.len() == FORMS_MAX {
                return Err(SchemeError::Forms(FORMS_MAX + 1));
            }
            let Some(prefix) = bits.take(prefix_len) else { return Err(malformed) };
            forms.push(Form {
                bit_count: low_byte(bit_count),
                prefix_len: low_byte(prefix_len),
                prefix,
            });
        }
        Self::from_forms(&forms)
    }

    /// The inverse of [`Self::parse`].
    #[must_use]
    pub fn serialize(&self) -> Vec<u8> {
        let mut bits = Vec::new();
        let mut put = |value: u32, count: u8| bits.extend((0..count).map(|bit| value >> bit & 1));
        for form in &self.forms {
            put(u32::from(form.prefix_len), 5);
            put(u32::from(form.bit_count), 5);
            put(form.prefix, form.prefix_len);
        }
        let byte =
            |chunk: &[u32]| low_byte(chunk.iter().rev().fold(0, |byte, bit| byte << 1 | bit));
        bits.chunks(8).map(byte).collect()
    }

    /// Its forms, narrowest first.
    #[inline]
    #[must_use]
    pub fn forms(&self) -> &[Form] {
        &self.forms
    }

    /// Bits of the widest director.
    #[must_use]
    pub fn max_width(&self) -> u8 {
        self.forms.iter().map(|form| form.width()).max().unwrap_or(0)
    }

    /// One more than the highest number that a director can name, the switch itself included.
    #[must_use]
    pub fn numbers_max(&self) -> u16 {
        let data_max = self.forms.last().map_or(0, |form| low_bits(form.bit_count));
        let numbers = match self.numbering {
            Numbering::V358 => data_max + 2,
            Numbering::V48 | Numbering::Data => data_max + 1,
        };
        u16::try_from(numbers).unwrap_or(u16::MAX)
    }

    /// The director that `label` begins with; `None` where no form matches or the number is beyond 16 bits.
    #[must_use]
    pub fn decode(&self, label: u64) -> Option<Decoded> {
        let index = self.form_of(label)?;
        let form = *self.forms.get(index)?;
        let number =
            if self.is_self(label, form) { 1 } else { self.number_of(index, form.data(label)) };
        Some(Decoded {
            number: u16::try_from(number).ok()?,
            width: form.width(),
            form: u8::try_from(index).ok()?,
        })
    }

    /// The director of `number` in a form. The switch itself has the value 1 in every form. `None`: not representable.
    #[must_use]
    pub fn director(&self, number: u16, form: usize) -> Option<u64> {
        let shape = *self.forms.get(form)?;
        if number == 1 {
            return Some(1);
        }
        let data = self.data_of(form, number)?;
        let director = shape.director(data);
        (data <= low_bits(shape.bit_count) && director != 1).then_some(director)
    }

    /// Index of the narrowest form that can represent `number`.
    #[must_use]
    pub fn narrowest(&self, number: u16) -> Option<usize> {
        if number == 1 {
            return self.form_of(1);
        }
        (0..self.forms.len()).find(|form| self.director(number, *form).is_some())
    }

    /// Bits of the narrowest director of `number`.
    #[must_use]
    pub fn narrowest_width(&self, number: u16) -> Option<u8> {
        self.narrowest(number).and_then(|form| self.forms.get(form)).map(|form| form.width())
    }

    /// The one-hop label of an interface: its narrowest director with the ending 1 above it. `None` for the switch
    /// itself, whose label is [`label::SELF`].
    #[must_use]
    pub fn peer_label(&self, number: u16) -> Option<u64> {
        let form = self.narrowest(number).filter(|_| number != 1)?;
        Some(self.director(number, form)? | 1 << self.forms.get(form)?.width())
    }

    /// Whether `label` addresses the switch itself: the low bits, as wide as its first director, are 1.
    #[must_use]
    pub fn is_self_route(&self, label: u64) -> bool {
        self.form_of(label)
            .and_then(|form| self.forms.get(form))
            .is_some_and(|form| self.is_self(label, *form))
    }

    /// Whether `label` ends right after its first director.
    #[must_use]
    pub fn is_one_hop(&self, label: u64) -> bool {
        let width = self
            .form_of(label)
            .and_then(|form| self.forms.get(form))
            .map(|form| u32::from(form.width()));
        width == Some(label::end(label))
    }

    /// Index of the form that `label` begins with.
    #[must_use]
    pub fn form_of(&self, label: u64) -> Option<usize> {
        self.forms.iter().position(|form| form.matches(label))
    }

    /// `label` with its first director converted to form `to`. `None`: INVALID.
    #[must_use]
    pub fn to_form(&self, label: u64, to: usize) -> Option<u64> {
        self.convert(label, Some(to))
    }

    /// `label` with its first director in the narrowest form. `None`: INVALID.
    #[must_use]
    pub fn canonical(&self, label: u64) -> Option<u64> {
        self.convert(label, None)
    }

    /// CJDNS-WIRE.md §4.4; `to`: `None` is canonical.
    fn convert(&self, label: u64, to: Option<usize>) -> Option<u64> {
        let from = self.form_of(label)?;
        let form = *self.forms.get(from)?;
        if self.forms.len() == 1 || self.is_self(label, form) {
            return (to.unwrap_or(0) == 0).then_some(label);
        }
        let rest = label >> form.width();
        let data = form.data(label);
        let number = match self.numbering {
            Numbering::V358 => self.number_of(from, data),
            Numbering::V48 | Numbering::Data => data,
        };
        let to = match to {
            Some(to) => to,
            None => self
                .forms
                .iter()
                .position(|form| u32::from(form.bit_count) >= bits_needed(*form, number))?,
        };
        let form = *self.forms.get(to)?;
        let data = match self.numbering {
            Numbering::V358 => self.data_of(to, u16::try_from(number).ok()?)?,
            Numbering::V48 | Numbering::Data => number,
        };
        let width = u32::from(form.width());
        if 1 + label::end(data) > u32::from(form.bit_count)
            || label::end(rest) + width > label::END_MAX
        {
            return None;
        }
        let director = form.director(data);
        (director != 1).then_some(rest << width | director)
    }

    /// The path `target` as handed out to whoever is behind the one-hop label `asker`: its first director is made at
    /// least as wide as the asker's. Source: CJDNS-WIRE.md §4.5, without overflow check as there.
    #[must_use]
    pub fn label_for(&self, target: u64, asker: u64) -> Option<u64> {
        let wide = self.form_of(asker)?;
        let width_asker = u32::from(self.forms.get(wide)?.width());
        let first = self.decode(target)?;
        let width = u32::from(first.width);
        if width >= width_asker {
            return Some(target);
        }
        let director = self.director(first.number, wide)?;
        Some((((target >> width) << width) << (width_asker - width)) | director)
    }

    /// Interface behind `data` in form `form`, the self director apart.
    const fn number_of(&self, form: usize, data: u64) -> u64 {
        match self.numbering {
            Numbering::V358 if form == 0 => match data {
                0 => 1,
                1 => 0,
                data => data,
            },
            Numbering::V358 => match data {
                0 => 0,
                data => data + 1,
            },
            Numbering::V48 => data ^ 1,
            Numbering::Data => data,
        }
    }

    /// Inverse of [`Self::number_of`]; may be too wide for the form.
    fn data_of(&self, form: usize, number: u16) -> Option<u64> {
        let number = u64::from(number);
        match self.numbering {
            Numbering::V358 if form == 0 => Some(match number {
                0 => 1,
                1 => 0,
                number => number,
            }),
            Numbering::V358 => match number {
                0 => Some(0),
                1 => None,
                number => Some(number - 1),
            },
            Numbering::V48 => Some(number ^ 1),
            Numbering::Data => Some(number),
        }
    }

    const fn is_self(&self, label: u64, form: Form) -> bool {
        label & low_bits(form.width()) == 1
    }
}

/// One node of a path.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// How the node names its interfaces.
    pub scheme: &'a Scheme,
    /// Interface that the packet comes in on; 1 at the start.
    pub from: u16,
    /// Interface that it leaves by.
    pub to: u16,
}

/// The label that leads through these nodes to the one behind the last: at each, the narrowest director that also
/// leaves room for the way back. `None`: an interface has no director, or the path is longer than a label.
///
/// Source: CJDNS-WIRE.md §4.6.
#[must_use]
pub fn path(hops: &[Hop<'_>]) -> Option<u64> {
    hops.iter().rev().try_fold(label::SELF, |rest, hop| {
        let room = hop.scheme.narrowest_width(hop.from)?;
        let forms = hop.scheme.forms().iter().enumerate().filter(|(_, form)| form.width() >= room);
        let (width, director) = forms
            .filter_map(|(index, form)| Some((form.width(), hop.scheme.director(hop.to, index)?)))
            .next()
            .filter(|_| hop.to != 1)?;
        label::splice(rest, director | 1 << width)
    })
}

fn check(forms: &[Form]) -> Result<(), SchemeError> {
    if forms.is_empty() || forms.len() > FORMS_MAX {
        return Err(SchemeError::Forms(forms.len()));
    }
    let mut bit_count_before = 0;
    for (index, form) in forms.iter().enumerate() {
        let (good, allowed) = match forms.len() {
            1 => (form.prefix_len == 0, "none"),
            _ => ((1..=31).contains(&form.prefix_len), "1 to 31"),
        };
        if !good {
            return Err(SchemeError::PrefixLen { form: index, found: form.prefix_len, allowed });
        }
        if u64::from(form.prefix) > low_bits(form.prefix_len) {
            return Err(SchemeError::Prefix {
                form: index,
                prefix: form.prefix,
                prefix_len: form.prefix_len,
            });
        }
        if form.bit_count <= bit_count_before || form.bit_count > BIT_COUNT_MAX {
            return Err(SchemeError::BitCount { form: index, found: form.bit_count });
        }
        if form.width() > WIDTH_MAX {
            return Err(SchemeError::Width { form: index, width: form.width() });
        }
        bit_count_before = form.bit_count;
        for (other, earlier) in forms.iter().enumerate().take(index) {
            let common = low_bits(form.prefix_len.min(earlier.prefix_len));
            if u64::from(form.prefix ^ earlier.prefix) & common == 0 {
                return Err(SchemeError::Ambiguous { a: other, b: index });
            }
        }
    }
    let has_self = forms.iter().any(|form| form.matches(1));
    if has_self { Ok(()) } else { Err(SchemeError::NoSelf) }
}

/// Bits that the canonical rule of §4.4 wants for `number` in `form`.
fn bits_needed(form: Form, number: u64) -> u32 {
    1 + label::end(if form.prefix == 1 { number } else { number.saturating_sub(1) })
}

const fn low_bits(count: u8) -> u64 {
    match 1_u64.checked_shl(count as u32) {
        Some(bit) => bit - 1,
        None => u64::MAX,
    }
}

const fn low_byte(value: u32) -> u8 {
    value.to_le_bytes()[0]
}

#[derive(Clone, Copy)]
struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitReader<'_> {
    fn bit(&self, at: usize) -> Option<u32> {
        self.bytes.get(at / 8).map(|byte| u32::from(*byte >> (at % 8) & 1))
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for place in 0..count {
            value |= self.bit(self.at)? << place;
            self.at += 1;
        }
        Some(value)
    }

    fn rest_is_zero(&self) -> bool {
        (self.at..self.bytes.len() * 8).all(|at| self.bit(at) == Some(0))
    }
}
