//! The pictures: throughput against threads, and how latencies are distributed.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::rounds::{Line, percentile};

const SIZE: (u32, u32) = (860, 460);
const COLOURS: [RGBColor; 6] = [
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x7f, 0x7f, 0x7f),
];

type Curve = (&'static str, Vec<(f64, f64)>);

pub(crate) fn draw(folder: &Path, lines: &[Line]) {
    let by_threads = curves(lines, "threads/", |line| {
        let threads = line.case.rsplit('/').next()?.parse().ok()?;
        Some(vec![(threads, line.per_second)])
    });
    let distribution = curves(lines, "callers/", |line| {
        let parts = (0..=1_000).map(|thousandth| f64::from(thousandth) / 1_000.0);
        Some(parts.filter_map(|part| Some((percentile(&line.latencies, part)?.log10(), part * 100.0))).collect())
    });
    for (name, caption, x, y, curves) in [
        ("throughput.svg", "Rotations a second", "threads", "", by_threads),
        ("latency.svg", "64 callers: how many percent have their answer", "after 10^x ms", "%", distribution),
    ] {
        if !curves.is_empty() {
            chart(&folder.join(name), [caption, x, y], &curves).expect("the target folder can be written");
        }
    }
}

/// One for each contender of the cases whose name begins like this.
fn curves(lines: &[Line], case: &str, points: impl Fn(&Line) -> Option<Vec<(f64, f64)>>) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for line in lines.iter().filter(|line| line.case.starts_with(case)) {
        let Some(points) = points(line) else { continue };
        match curves.iter_mut().find(|(name, _)| *name == line.name) {
            Some((_, curve)) => curve.extend(points),
            None => curves.push((line.name, points)),
        }
    }
    curves
}

fn chart(path: &Path, [caption, x, y]: [&str; 3], curves: &[Curve]) -> Result<(), Box<dyn Error>> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(f64::NEG_INFINITY, f64::max);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(caption, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(least..most(|point| point.0), 0.0..most(|point| point.1) * 1.05)?;
    chart.configure_mesh().x_desc(x).y_desc(y).light_line_style(WHITE).draw()?;
    for ((name, points), colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let series = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
        let mark = |(x, y): (i32, i32)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
        chart.draw_series(series)?.label(*name).legend(mark);
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;
    area.present()?;
    Ok(())
}
