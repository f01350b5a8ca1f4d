//! What control answers, as tables for people.

use super::client::{Client, Request};
use super::human::{Rate, instant};
use crate::table::{Side, Table};
use crate::units;
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// Items that are asked for at a time.
const PAGE: u32 = 1000;
/// Most items that are put together: more are asked for page by page.
const ITEMS_MAX: usize = 200_000;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Text,
    /// A number of things.
    Count,
    /// Unix milliseconds.
    Instant,
    /// Bytes a second.
    Rate,
    /// Bytes.
    Bytes,
}

/// A column: its heading, where its value is in an item (a JSON pointer), and how that is written.
pub(crate) type Column = (&'static str, &'static str, Form);

/// Items as a table; `none`: what is said if there are none.
pub(crate) fn table<'a>(
    columns: &[Column],
    items: impl IntoIterator<Item = &'a Value>,
    none: &str,
) -> String {
    let side =
        |form| if matches!(form, Form::Text | Form::Instant) { Side::Left } else { Side::Right };
    let heads: Vec<_> = columns.iter().map(|(name, _, form)| (*name, side(*form))).collect();
    let mut table = Table::new(&heads);
    for item in items {
        table.row(columns.iter().map(|(_, at, form)| cell(item.pointer(at), *form)).collect());
    }
    if table.is_empty() { format!("{none}\n") } else { table.to_string() }
}

/// One item, a line for each column.
pub(crate) fn card(columns: &[Column], item: &Value) -> String {
    let width = columns.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
    let lines = columns.iter().map(|(name, at, form)| {
        let line = format!("{name:width$}  {}", cell(item.pointer(at), *form));
        line.trim_end().to_owned() + "\n"
    });
    lines.collect()
}

/// A value in few words.
pub(crate) fn cell(value: Option<&Value>, form: Form) -> String {
    let Some(value) = value.filter(|value| !value.is_null()) else { return String::new() };
    match (form, value.as_u64()) {
        (Form::Count, Some(number)) => units::count(number),
        (Form::Instant, Some(ms)) => instant(ms),
        (Form::Rate, Some(rate)) => Rate(rate).to_string(),
        (Form::Bytes, Some(bytes)) => units::bytes(bytes),
        (Form::Text | Form::Count | Form::Instant | Form::Rate | Form::Bytes, _) => text(value),
    }
}

/// A value without the signs that JSON needs.
pub(crate) fn text(value: &Value) -> String {
    if let Some(text) = value.as_str() {
        clean(text)
    } else if let Some(list) = value.as_array() {
        list.iter().map(text).collect::<Vec<_>>().join(",")
    } else if let Some(table) = value.as_object() {
        let pair = |(name, value): (&String, &Value)| format!("{}={}", clean(name), text(value));
        table.iter().filter(|(_, value)| !value.is_null()).map(pair).collect::<Vec<_>>().join(" ")
    } else {
        value.to_string()
    }
}

/// Text without what a terminal might take as an order.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A field's text.
pub(crate) fn str_at<'a>(value: &'a Value, at: &str) -> &'a str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// A field's list.
pub(crate) fn items_at<'a>(value: &'a Value, at: &str) -> &'a [Value] {
    value.pointer(at).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A list with all of its pages, or its first `limit` items: `{"items": [..]}`.
pub(crate) fn all(
    client: &Client,
    request: impl Fn() -> Request,
    limit: Option<u32>,
) -> Result<Value> {
    let most = limit.map_or(ITEMS_MAX, |limit| limit as usize);
    let (mut items, mut cursor) = (Vec::new(), None::<String>);
    while items.len() < most {
        let left = u32::try_from(most - items.len()).unwrap_or(PAGE).min(PAGE);
        let page = request().query("limit", left).query_if("cursor", cursor.as_ref());
        let mut page = client.ask(page)?.json()?;
        if let Some(some) = page.pointer_mut("/items").and_then(Value::as_array_mut) {
            items.append(some);
        }
        let next = page.pointer("/next").and_then(Value::as_str).map(str::to_owned);
        // A list that stands still is no list of ours.
        ensure!(next.is_none() || next != cursor, "control's list comes to no end");
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    ensure!(limit.is_some() || cursor.is_none(), "more than {ITEMS_MAX} items: say --limit");
    Ok(json!({ "items": items }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_become_rows() {
        let items = [
            json!({"id": 1, "grant": {"role": "owner"}, "end": 0, "rate": 125_000, "vifs": [2, 3]}),
            json!({"id": 12_345, "grant": {"role": "ten\u{1b}ant"}, "end": null}),
        ];
        let columns = [
            ("id", "/id", Form::Count),
            ("role", "/grant/role", Form::Text),
            ("end", "/end", Form::Instant),
            ("rate", "/rate", Form::Rate),
            ("vifs", "/vifs", Form::Text),
        ];
        let shown = table(&columns, &items, "none");
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(shown.contains("1  owner    1970-01-01 00:00:00Z  1Mbit/s  2,3\n"), "{shown}");
        assert!(shown.contains("12 345  ten\u{fffd}ant\n"), "{shown}");
        assert_eq!(table(&columns, &[], "there are none"), "there are none\n");
        assert_eq!(card(&columns[..2], &items[0]), "id    1\nrole  owner\n");
    }
}
