//! Encoding schemes as tables: what the low bits of a label say, and the director that leads back.

use super::numbers::index;
use wire::scheme::Scheme;

/// Bits of a label that a [`Narrow`] table is indexed with.
const NARROW_BITS: u32 = 10;
/// Numbers in a [`Narrow`] table, a power of two.
const NARROW_NUMBERS: usize = 512;
/// Forms in a [`Narrow`] table, a power of two.
const NARROW_FORMS: usize = 4;

/// A director: width in bits 0..8, form in 8..16, number in 16..32. [`Director::NONE`]: the bits fit no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Director(u32);

impl Director {
    /// Consumes nothing and names a number that no map has.
    const NONE: Self = Self(0xffff_0000);

    #[inline]
    pub(crate) fn number(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline]
    pub(crate) fn width(self) -> u32 {
        self.0 & 0xff
    }

    #[inline]
    pub(crate) fn form(self) -> usize {
        (self.0 >> 8 & 0xff) as usize
    }

    #[inline]
    pub(crate) fn is_none(self) -> bool {
        self.width() == 0
    }
}

/// The way back: a director of at most 15 bits, reversed, left-aligned in 16 bits; kept in the order of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Return(u16);

impl Return {
    /// The ingress number has no director in this form. The lowest bit belongs to no 15-bit director.
    pub(crate) const NONE: Self = Self(1_u16.to_be());

    /// Puts it into the high bits of a label, which are 0.
    ///
    /// `label`: as on the wire, read as a little-endian word, so that its first two bytes are the low ones.
    #[inline]
    pub(crate) fn put(self, label: u64) -> u64 {
        label | u64::from(self.0)
    }
}

/// The tables of a scheme with directors of at most 10 bits, as all named ones are.
///
/// Sizes are powers of two and known, so an index needs a mask and no check. A vswitch's packets touch 4 KB of
/// directors and, at v358, 2 KB of returns; two vswitches with one scheme touch the same, so both stay in the
/// first-level cache however many vswitches there are.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Narrow {
    directors: [Director; 1 << NARROW_BITS],
    returns: [Return; NARROW_NUMBERS * NARROW_FORMS],
}

impl Narrow {
    /// The director that a label begins with.
    #[inline]
    pub(crate) fn decode(&self, label: u64) -> Director {
        self.directors[index(label & ((1 << NARROW_BITS) - 1))]
    }

    /// The director that leads back to `number`, in the form that was consumed.
    #[inline]
    pub(crate) fn back(&self, number: u16, form: usize) -> Return {
        let at = usize::from(number) * NARROW_FORMS + form;
        self.returns[at & (NARROW_NUMBERS * NARROW_FORMS - 1)]
    }

    fn new(scheme: &Scheme) -> Option<Self> {
        let fits = u32::from(scheme.max_width()) <= NARROW_BITS
            && scheme.forms().len() <= NARROW_FORMS
            && usize::from(scheme.numbers_max()) <= NARROW_NUMBERS;
        if !fits {
            return None;
        }
        let mut tables = Self {
            directors: [Director::NONE; 1 << NARROW_BITS],
            returns: [Return::NONE; NARROW_NUMBERS * NARROW_FORMS],
        };
        for (low, director) in (0..).zip(&mut tables.directors) {
            *director = decode(scheme, low);
        }
        for (number, row) in
            (0..scheme.numbers_max()).zip(tables.returns.chunks_exact_mut(NARROW_FORMS))
        {
            for (form, entry) in row.iter_mut().enumerate() {
                *entry = back(scheme, number, form);
            }
        }
        Some(tables)
    }
}

/// The tables of any scheme, up to 15 bits: the same, with sizes of its own.
#[derive(Debug, Default)]
pub(crate) struct Wide {
    directors: Box<[Director]>,
    /// `forms` entries for each number.
    returns: Box<[Return]>,
    forms: usize,
}

impl Wide {
    /// As [`Narrow::decode`].
    #[inline]
    pub(crate) fn decode(&self, label: u64) -> Director {
        let mask = self.directors.len().wrapping_sub(1) as u64;
        self.directors.get(index(label & mask)).copied().unwrap_or(Director::NONE)
    }

    /// As [`Narrow::back`].
    #[inline]
    pub(crate) fn back(&self, number: u16, form: usize) -> Return {
        self.returns.get(usize::from(number) * self.forms + form).copied().unwrap_or(Return::NONE)
    }

    fn new(scheme: &Scheme) -> Self {
        let forms = scheme.forms().len();
        let returns =
            (0..scheme.numbers_max()).flat_map(|number| (0..forms).map(move |form| (number, form)));
        Self {
            directors: (0..1_u64 << scheme.max_width()).map(|low| decode(scheme, low)).collect(),
            returns: returns.map(|(number, form)| back(scheme, number, form)).collect(),
            forms,
        }
    }
}

/// Distinct schemes of one box.
pub(crate) const SCHEMES_MAX: usize = 256;

/// All schemes in use, by the index that records hold.
#[derive(Debug, Default)]
pub(crate) struct Schemes {
    schemes: Vec<Scheme>,
    wide: Vec<Wide>,
    narrow: Vec<Option<Box<Narrow>>>,
}

impl Schemes {
    /// Index of `scheme`, which is added if it is new. `None`: there are [`SCHEMES_MAX`] already.
    pub(crate) fn intern(&mut self, scheme: &Scheme) -> Option<u8> {
        if let Some(known) = self.schemes.iter().position(|known| known == scheme) {
            return u8::try_from(known).ok();
        }
        let new = u8::try_from(self.schemes.len()).ok()?;
        self.schemes.push(scheme.clone());
        self.wide.push(Wide::new(scheme));
        self.narrow.push(Narrow::new(scheme).map(Box::new));
        Some(new)
    }

    /// The tables that serve all vswitches, where one narrow scheme does.
    #[inline]
    pub(crate) fn only(&self) -> Option<&Narrow> {
        match &*self.narrow {
            [Some(only)] => Some(only),
            _ => None,
        }
    }

    /// The tables of a narrow scheme.
    #[inline]
    pub(crate) fn narrow(&self, scheme: usize) -> Option<&Narrow> {
        self.narrow.get(scheme)?.as_deref()
    }

    /// The tables of any scheme.
    #[inline]
    pub(crate) fn wide(&self, scheme: usize) -> Option<&Wide> {
        self.wide.get(scheme)
    }

    /// The scheme itself, for what is not on the packet path.
    pub(crate) fn scheme(&self, scheme: usize) -> Option<&Scheme> {
        self.schemes.get(scheme)
    }

    /// Bytes of all tables.
    pub(crate) fn bytes(&self) -> usize {
        let wide = self
            .wide
            .iter()
            .map(|wide| size_of_val(&*wide.directors) + size_of_val(&*wide.returns));
        wide.sum::<usize>() + self.narrow.iter().flatten().count() * size_of::<Narrow>()
    }
}

fn decode(scheme: &Scheme, low: u64) -> Director {
    scheme.decode(low).map_or(Director::NONE, |director| {
        Director(
            u32::from(director.width)
                | u32::from(director.form) << 8
                | u32::from(director.number) << 16,
        )
    })
}

fn back(scheme: &Scheme, number: u16, form: usize) -> Return {
    let Some(director) = scheme.director(number, form) else { return Return::NONE };
    let top = director.reverse_bits() >> 48;
    u16::try_from(top).map_or(Return::NONE, |top| Return(top.to_be()))
}
