//! Encoding schemes as tables: what the low bits of a label say, and the director that leads back.

use super::numbers::index;
use wire::scheme::Scheme;

/// A scheme's place in the two tables, which all schemes share.
///
/// A vswitch's packets touch its scheme's 4 KB (v358) of decode table and 2 KB of return table; two vswitches with one
/// scheme touch the same, so both stay in the first-level cache however many vswitches there are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SchemeTables {
    decode_start: u32,
    /// Low bits of a label that the decode table is indexed with.
    decode_mask: u32,
    returns_start: u32,
    /// A number's returns are `1 << returns_shift` entries apart: one for each form.
    returns_shift: u32,
}

/// A director: number in bits 0..16, width in 16..24, form in 24..32. [`Director::NONE`]: the bits fit no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Director(u32);

impl Director {
    /// Consumes nothing, so every check of the fast path fails on it.
    const NONE: Self = Self(0xffff);

    #[inline]
    pub(crate) fn number(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    #[inline]
    pub(crate) fn width(self) -> u32 {
        self.0 >> 16 & 0xff
    }

    #[inline]
    pub(crate) fn form(self) -> u32 {
        self.0 >> 24
    }

    #[inline]
    pub(crate) fn is_none(self) -> bool {
        self.width() == 0
    }
}

/// The way back: a director of at most 15 bits, reversed, left-aligned in 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Return(u16);

impl Return {
    /// The ingress number has no director in this form. Bit 0 belongs to no 15-bit director.
    pub(crate) const NONE: Self = Self(1);

    /// As it is put into the high bits of a label.
    #[inline]
    pub(crate) fn bits(self) -> u64 {
        u64::from(self.0) << 48
    }
}

/// Distinct schemes of one box.
pub(crate) const SCHEMES_MAX: usize = 256;

/// All schemes in use.
#[derive(Debug, Default)]
pub(crate) struct Schemes {
    tables: Vec<SchemeTables>,
    decode: Vec<Director>,
    returns: Vec<Return>,
    schemes: Vec<Scheme>,
}

impl Schemes {
    /// Index of `scheme`, which is added if it is new. `None`: there are [`SCHEMES_MAX`] already.
    pub(crate) fn intern(&mut self, scheme: &Scheme) -> Option<u8> {
        if let Some(known) = self.schemes.iter().position(|known| known == scheme) {
            return u8::try_from(known).ok();
        }
        let new = u8::try_from(self.schemes.len()).ok()?;
        let forms = scheme.forms().len();
        let width = u32::from(scheme.max_width());
        let tables = SchemeTables {
            decode_start: u32::try_from(self.decode.len()).ok()?,
            decode_mask: (1 << width) - 1,
            returns_start: u32::try_from(self.returns.len()).ok()?,
            returns_shift: forms.next_power_of_two().trailing_zeros(),
        };
        self.decode.extend((0..1_u64 << width).map(|low| decode(scheme, low)));
        for number in 0..scheme.numbers_max() {
            let row = 1 << tables.returns_shift;
            self.returns.extend(
                (0..row).map(
                    |form| if form < forms { back(scheme, number, form) } else { Return::NONE },
                ),
            );
        }
        self.tables.push(tables);
        self.schemes.push(scheme.clone());
        Some(new)
    }

    #[inline]
    pub(crate) fn tables(&self, scheme: usize) -> SchemeTables {
        self.tables.get(scheme).copied().unwrap_or_default()
    }

    /// The director that a label begins with.
    ///
    /// Cost: one load of 4 bytes.
    #[inline]
    pub(crate) fn decode(&self, tables: SchemeTables, label: u64) -> Director {
        let at = tables.decode_start as usize + index(label & u64::from(tables.decode_mask));
        self.decode.get(at).copied().unwrap_or(Director::NONE)
    }

    /// The director that leads back to `number`, in the form that was consumed.
    ///
    /// Cost: one load of 2 bytes.
    #[inline]
    pub(crate) fn back(&self, tables: SchemeTables, number: u16, form: u32) -> Return {
        let at = tables.returns_start as usize
            + ((usize::from(number)) << tables.returns_shift)
            + form as usize;
        self.returns.get(at).copied().unwrap_or(Return::NONE)
    }

    /// Bytes of all tables.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.decode) + size_of_val(&*self.returns)
    }

    /// The scheme itself, for what is not on the packet path.
    pub(crate) fn scheme(&self, scheme: usize) -> Option<&Scheme> {
        self.schemes.get(scheme)
    }
}

fn decode(scheme: &Scheme, low: u64) -> Director {
    scheme.decode(low).map_or(Director::NONE, |director| {
        Director(
            u32::from(director.number)
                | u32::from(director.width) << 16
                | u32::from(director.form) << 24,
        )
    })
}

fn back(scheme: &Scheme, number: u16, form: usize) -> Return {
    let Some(director) = scheme.director(number, form) else { return Return::NONE };
    let top = director.reverse_bits() >> 48;
    u16::try_from(top).map_or(Return::NONE, Return)
}
