//! Long lists, a page at a time.

use crate::problem::Problem;
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use utoipa::ToSchema;

/// Items of a page, if nobody says how many.
const LIMIT_USUAL: u32 = 100;
/// Most items of a page.
pub(crate) const LIMIT_MAX: u32 = 1000;

/// Some of a list, and where the rest is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// In the order of the list.
    pub(crate) items: Vec<T>,
    /// `cursor` of the next page; none: this is the last.
    pub(crate) next: Option<String>,
}

/// Which page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    limit: u32,
    cursor: Option<u64>,
}

impl Asked {
    pub(crate) fn new(limit: Option<u32>, cursor: Option<&str>) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(LIMIT_USUAL);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Problem::invalid("limit", limit, format!("1 to {LIMIT_MAX}")));
        }
        Ok(Self { limit, cursor: cursor.map(read).transpose()? })
    }

    /// Where the page begins, in a list by ascending number.
    pub(crate) fn from(self) -> u64 {
        self.cursor.unwrap_or(0)
    }

    /// Below which number the page begins, in a list by descending number.
    pub(crate) fn before(self) -> u64 {
        self.cursor.unwrap_or(u64::MAX)
    }

    /// So many items are to be looked up: one more than are shown.
    pub(crate) fn fetch(self) -> u32 {
        self.limit + 1
    }

    /// The page of a list by ascending number, of which [`Self::fetch`] items were looked up.
    pub(crate) fn ascending<T, U>(
        self,
        mut found: Vec<T>,
        number: impl Fn(&T) -> u64,
        show: impl Fn(T) -> U,
    ) -> Page<U> {
        let next = found.get(self.limit as usize).map(|first_left| write(number(first_left)));
        found.truncate(self.limit as usize);
        Page { items: found.into_iter().map(show).collect(), next }
    }

    /// The same for a list by descending number.
    pub(crate) fn descending<T, U>(
        self,
        mut found: Vec<T>,
        number: impl Fn(&T) -> u64,
        show: impl Fn(T) -> U,
    ) -> Page<U> {
        let is_last = found.len() <= self.limit as usize;
        found.truncate(self.limit as usize);
        let next = found.last().filter(|_| !is_last).map(|last| write(number(last)));
        Page { items: found.into_iter().map(show).collect(), next }
    }

    /// The page of a list without numbers, of which [`Self::fetch`] items after the first [`Self::from`] were looked up.
    pub(crate) fn skipped<T, U>(self, mut found: Vec<T>, show: impl Fn(T) -> U) -> Page<U> {
        let is_last = found.len() <= self.limit as usize;
        found.truncate(self.limit as usize);
        let next = (!is_last).then(|| write(self.from().saturating_add(self.limit.into())));
        Page { items: found.into_iter().map(show).collect(), next }
    }

    /// The page of a list that is all there.
    pub(crate) fn of<T>(self, all: impl IntoIterator<Item = T>) -> Page<T> {
        let start = self.from();
        let skipped = all.into_iter().skip(usize::try_from(start).unwrap_or(usize::MAX));
        let mut items: Vec<_> = skipped.take(self.fetch() as usize).collect();
        let is_last = items.len() <= self.limit as usize;
        items.truncate(self.limit as usize);
        Page { items, next: (!is_last).then(|| write(start.saturating_add(self.limit.into()))) }
    }
}

fn write(number: u64) -> String {
    BASE64URL_NOPAD.encode(&number.to_be_bytes())
}

fn read(cursor: &str) -> Result<u64, Problem> {
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok();
    let number = bytes.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    number.ok_or_else(|| Problem::invalid("cursor", format!("{cursor:?}"), "`next` of a page"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(limit: u32, page: impl Fn(Asked) -> Page<u64>) -> (Vec<u64>, usize) {
        let (mut all, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let shown = page(Asked::new(Some(limit), cursor.as_deref()).unwrap());
            assert!(shown.items.len() <= limit as usize);
            all.extend(shown.items);
            pages += 1;
            match shown.next {
                Some(next) => cursor = Some(next),
                None => return (all, pages),
            }
        }
    }

    #[test]
    fn pages_make_the_whole_list_once() {
        let numbers: Vec<u64> = (1..=10).map(|number| number * 3).collect();
        for limit in 1..=12 {
            let pages = 10_usize.div_ceil(limit as usize);
            let up = walk(limit, |asked| {
                let found = numbers.iter().copied().filter(|number| *number >= asked.from());
                asked.ascending(found.take(asked.fetch() as usize).collect(), |it| *it, |it| it)
            });
            assert_eq!(up, (numbers.clone(), pages));
            let down = walk(limit, |asked| {
                let found = numbers.iter().rev().copied().filter(|it| *it < asked.before());
                asked.descending(found.take(asked.fetch() as usize).collect(), |it| *it, |it| it)
            });
            assert_eq!(down, (numbers.iter().rev().copied().collect(), pages));
            assert_eq!(walk(limit, |asked| asked.of(numbers.clone())), (numbers.clone(), pages));
            let skipped = walk(limit, |asked| {
                let found = numbers.iter().copied().skip(usize::try_from(asked.from()).unwrap());
                asked.skipped(found.take(asked.fetch() as usize).collect(), |it| it)
            });
            assert_eq!(skipped, (numbers.clone(), pages));
        }
    }

    #[test]
    fn limits_and_cursors_that_make_no_sense_are_refused() {
        for limit in [0, LIMIT_MAX + 1, u32::MAX] {
            assert!(Asked::new(Some(limit), None).is_err());
        }
        for cursor in ["", "AAAA", "not one", "AAAAAAAAAAAAAAA=", "ÄÄÄ"] {
            assert!(Asked::new(None, Some(cursor)).is_err(), "{cursor}");
        }
        assert_eq!(Asked::new(None, None).unwrap(), Asked { limit: 100, cursor: None });
    }
}
