//! Pictures of it.

use super::Figures;
use super::cell::Load;
use super::peers::Compared;
use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use std::fs;
use std::path::Path;

const SIZE: (u32, u32) = (900, 500);
const COLOURS: [RGBColor; 3] = [BLUE, RED, BLACK];

/// A line: its name, and its points.
type Line = (String, Vec<(f64, f64)>);

/// Draws all into a folder.
pub(super) fn draw(folder: &Path, compared: &[Compared], figures: &[Figures]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    for load in [Load::Mix, Load::Greedy, Load::Paced] {
        let meant =
            || compared.iter().filter(move |one| (one.cell.load, one.cell.sold) == (load, 90));
        let delays = |one: &Compared| {
            let point = |(part, us): &(f64, f64)| (-(1.0 - part).log10(), us.max(0.1).log10());
            (one.method.to_owned(), one.delays.iter().map(point).collect())
        };
        let title = format!("{load}, 90 % sold: delay of what is in profile");
        let axes = ("nines of packets", "at most, powers of ten of a µs");
        lines(
            &folder.join(format!("delay_{load}.svg")),
            &title,
            axes,
            &meant().map(delays).collect::<Vec<_>>(),
        )?;
        let shares = |one: &Compared| {
            let mut shares = one.shares.clone();
            shares.sort_by(f64::total_cmp);
            let part = |place: usize| place as f64 / shares.len() as f64;
            let points =
                shares.iter().enumerate().map(|(place, share)| (part(place), share.min(3.0)));
            (one.method.to_owned(), points.collect())
        };
        if meant().all(|one| one.shares.is_empty()) {
            continue;
        }
        let title = format!("{load}, 90 % sold: leftovers had, of the ideal");
        let axes = ("part of the leases", "had to ideal, at most 3");
        lines(
            &folder.join(format!("leftovers_{load}.svg")),
            &title,
            axes,
            &meant().map(shares).collect::<Vec<_>>(),
        )?;
    }
    let latest: Vec<Line> = [1, 2, 8]
        .map(|workers| {
            let meant = figures.iter().filter(|figures| figures.cell.workers == workers);
            let mut late: Vec<f64> =
                meant.map(|figures| figures.latest_us.clamp(-200.0, 200.0)).collect();
            late.sort_by(f64::total_cmp);
            let points = late.iter().enumerate().map(|(place, us)| (place as f64, *us));
            (format!("{workers} workers"), points.collect())
        })
        .into();
    let axes = ("cells, by that", "µs after the bound; below 0: all were in time");
    lines(&folder.join("latest.svg"), "The latest packet in profile of each cell", axes, &latest)
}

fn lines(path: &Path, title: &str, axes: (&str, &str), lines: &[Line]) -> Result<()> {
    let points = || lines.iter().flat_map(|(_, points)| points).copied();
    let range = |of: fn((f64, f64)) -> f64| {
        let (low, high) =
            points().map(of).fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
        if low < high { low..high * 1.02 } else { low - 1.0..low + 1.0 }
    };
    if points().next().is_none() {
        return Ok(());
    }
    let told = |error: &dyn std::fmt::Display| anyhow!("draw {}: {error}", path.display());
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| told(&error))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(range(|point| point.0), range(|point| point.1))
        .map_err(|error| told(&error))?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(axes.0).y_desc(axes.1).draw().map_err(|error| told(&error))?;
    for ((name, points), colour) in lines.iter().zip(COLOURS) {
        let series = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
        let drawn = chart.draw_series(series).map_err(|error| told(&error))?;
        drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    let mut labels = chart.configure_series_labels();
    labels.background_style(WHITE).border_style(BLACK).draw().map_err(|error| told(&error))?;
    area.present().map_err(|error| told(&error))
}
