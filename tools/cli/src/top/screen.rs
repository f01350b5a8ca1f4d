//! The screen of `top`: a picture in, cells out.

use super::Picture;
use crate::units;
use dataplane_client::snapshot::TrafficRates;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};

/// Draws `picture` over the whole of `frame`.
pub(super) fn draw(frame: &mut Frame<'_>, picture: &Picture) {
    let height = |rows: usize| {
        Constraint::Length(u16::try_from(rows.max(1)).unwrap_or(u16::MAX).saturating_add(3))
    };
    // The heading is what a terminal of few lines still shows.
    let [top, rest] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(frame.area());
    let leases_height = match picture.leases.len() {
        0 => Constraint::Length(0),
        leases => height(leases.min(10)),
    };
    let areas = Layout::vertical([
        height(picture.tenants.len().min(12)),
        leases_height,
        height(picture.ports.len().min(8)),
        Constraint::Min(5),
        height(picture.workers.len().min(8)),
        Constraint::Length(u16::try_from(picture.notices.len().min(3)).unwrap_or(0)),
        Constraint::Length(1),
    ])
    .split(rest);
    frame.render_widget(Paragraph::new(picture.heading.as_str()).style(bold()), top);
    frame.render_widget(tenants(picture), areas[0]);
    frame.render_widget(leases(picture), areas[1]);
    frame.render_widget(ports(picture), areas[2]);
    drops(frame, areas[3], picture);
    frame.render_widget(workers(picture), areas[4]);
    let notices: Vec<Line<'_>> =
        picture.notices.iter().map(|notice| Line::from(notice.as_str())).collect();
    frame.render_widget(Paragraph::new(notices).style(Style::new().fg(Color::Yellow)), areas[5]);
    frame.render_widget(
        Paragraph::new("q leaves").style(Style::new().add_modifier(Modifier::DIM)),
        areas[6],
    );
}

fn tenants(picture: &Picture) -> Table<'_> {
    let rows = picture.tenants.iter().map(|line| {
        let [a, b, c, d] = rates(&line.rates);
        let name = format!("{}: {}", line.tenant, line.vswitches);
        Row::new([
            left(name),
            a,
            b,
            c,
            d,
            rate(line.drops_per_second),
            right(units::count(line.drops)),
        ])
    });
    let heading = ["tenant", "rx pkt/s", "rx bit/s", "tx pkt/s", "tx bit/s", "drop/s", "drops"];
    table("tenants", heading, rows.collect())
}

fn leases(picture: &Picture) -> Table<'_> {
    let rows = picture.leases.iter().map(|line| {
        let style = if line.used > 0.95 { Style::new().fg(Color::Yellow) } else { Style::new() };
        Row::new([
            left(format!("{}: lease {} {}", line.tenant, line.lease, line.vifs)),
            rate(line.guaranteed_bps),
            rate(line.priority_bps),
            rate(line.free_bps),
            right(units::percent(line.used)),
            rate(line.drops_per_second),
            right(line.p99_ns.map_or_else(String::new, |ns| format!("<{}", units::nanos(ns)))),
        ])
        .style(style)
    });
    let heading = ["lease", "guar b/s", "prio b/s", "free b/s", "used", "drop/s", "p99 wait"];
    table("leases", heading, rows.collect())
}

fn ports(picture: &Picture) -> Table<'_> {
    let rows = picture.ports.iter().map(|line| {
        let [a, b, c, d] = rates(&line.rates);
        let state = if line.up { "" } else { "DOWN " };
        let name = format!("{state}{} ({})", line.port, line.backend);
        let style = if line.up { Style::new() } else { Style::new().fg(Color::Red) };
        Row::new([
            left(name),
            a,
            b,
            c,
            d,
            rate(line.drops_per_second),
            rate(line.kernel_drops_per_second),
        ])
        .style(style)
    });
    let heading = ["port", "rx pkt/s", "rx bit/s", "tx pkt/s", "tx bit/s", "drop/s", "kernel/s"];
    table("ports", heading, rows.collect())
}

fn drops(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let block = Block::new().title("drops").borders(Borders::TOP);
    if picture.drops.is_empty() {
        return frame.render_widget(Paragraph::new("none").block(block), area);
    }
    let rows = picture.drops.iter().map(|line| {
        let active = if line.per_second > 0.0 {
            Style::new()
        } else {
            Style::new().add_modifier(Modifier::DIM)
        };
        let meaning = crate::why::sentence(line.reason);
        Row::new([
            left(line.reason.name()),
            rate(line.per_second),
            right(units::count(line.drops)),
            left(meaning),
        ])
        .style(active)
    });
    let widths = [
        Constraint::Length(20),
        Constraint::Length(9),
        Constraint::Length(14),
        Constraint::Min(20),
    ];
    let heading =
        Row::new([left("reason"), right("drop/s"), right("drops"), left("meaning")]).style(bold());
    frame.render_widget(Table::new(rows, widths).header(heading).block(block), area);
}

fn workers(picture: &Picture) -> Table<'_> {
    let rows = picture.workers.iter().map(|line| {
        let core = line.core.map_or_else(|| "any core".into(), |core| format!("core {core}"));
        let style = if line.busy > 0.9 { Style::new().fg(Color::Yellow) } else { Style::new() };
        Row::new([
            left(format!("worker {} on {core}", line.worker)),
            right(units::percent(line.busy)),
            rate(line.handed_off_per_second),
            right(units::count(line.frames_free)),
            right(units::count(line.frames_queued)),
            left(""),
            left(""),
        ])
        .style(style)
    });
    let heading = ["worker", "busy", "handed/s", "free", "queued", "", ""];
    table("workers", heading, rows.collect())
}

/// A table whose first column is a name and whose others are numbers.
fn table<'a>(title: &'a str, heading: [&'a str; 7], rows: Vec<Row<'a>>) -> Table<'a> {
    let widths = [
        // 80 columns, with the spaces between.
        Constraint::Min(24),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(10),
    ];
    let [first, rest @ ..] = heading;
    let heading = Row::new(std::iter::once(left(first)).chain(rest.map(right))).style(bold());
    Table::new(rows, widths).header(heading).block(Block::new().title(title).borders(Borders::TOP))
}

fn rates(rates: &TrafficRates) -> [Cell<'static>; 4] {
    [rates.rx_pps, rates.rx_bps, rates.tx_pps, rates.tx_bps].map(rate)
}

fn rate(value: f64) -> Cell<'static> {
    right(units::rate(value))
}

fn left<'a>(text: impl Into<Text<'a>>) -> Cell<'a> {
    Cell::new(text)
}

fn right<'a>(text: impl Into<Text<'a>>) -> Cell<'a> {
    Cell::new(text.into().right_aligned())
}

const fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::tests::look;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn drawn(width: u16, height: u16) -> String {
        let picture = Picture::new(&look(3), Some(&look(1)));
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &picture)).unwrap();
        let buffer = terminal.backend().buffer();
        let cells: Vec<&str> = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
        cells.chunks(width.into()).map(|row| row.concat().trim_end().to_owned() + "\n").collect()
    }

    #[test]
    fn the_screen_has_all_parts_in_order() {
        let screen = drawn(110, 40);
        let wanted = [
            "switchyard 0.1.0  pid 77  up 00:00:03  generation 3  2 vswitches  5 vifs",
            "tenants",
            "1: red",
            "2: blue",
            "1: lease 3",
            "2: lease 1",
            "west (af_xdp native copy)",
            "policy",
            "worker 1 on core 2",
            "port east: small pages",
            "q leaves",
        ];
        let mut rest = screen.as_str();
        for part in wanted {
            let Some((_, after)) = rest.split_once(part) else {
                panic!("{part:?} is missing after\n{screen}")
            };
            rest = after;
        }
    }

    #[test]
    fn a_tenants_line_holds_its_rates() {
        let screen = drawn(110, 30);
        let line = screen.lines().find(|line| line.contains("2: blue")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, ["2:", "blue", "0", "0", "0", "0", "40", "120"]);
    }

    #[test]
    fn headings_are_whole_on_eighty_columns() {
        let screen = drawn(80, 40);
        for words in [
            ["tenant", "rx pkt/s", "tx bit/s", "drop/s", "drops"],
            ["lease", "guar b/s", "free b/s", "used", "p99 wait"],
            ["port", "rx pkt/s", "tx bit/s", "drop/s", "kernel/s"],
            ["worker", "busy", "handed/s", "free", "queued"],
        ] {
            let whole = |line: &str| words.iter().all(|word| line.contains(word));
            assert!(screen.lines().any(whole), "{words:?} in\n{screen}");
        }
    }

    #[test]
    fn a_small_terminal_shows_what_fits() {
        assert!(drawn(20, 5).contains("switchyard"));
        assert_eq!(drawn(1, 1).lines().count(), 1);
    }
}
