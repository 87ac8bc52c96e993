//! How a figure grows, a line for each peer, both axes logarithmic.

use panpipe_benches::peer::Kind;
use panpipe_benches::results::short;

use crate::canvas::{self, Canvas, GREY, INK, PALE, Side, colour};

/// A peer's figures.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Each number with its figure.
    pub(crate) points: Vec<(f64, f64)>,
}

/// The lines of one figure.
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) across: &'static str,
    pub(crate) lines: Vec<Line>,
}

const WIDTH: i32 = 560;
const TITLE: i32 = 34;
const HEIGHT: i32 = 430;
const LEFT: i32 = 64;
const TOP: i32 = 36;
/// Room for the names behind the lines.
const NAMES: i32 = 170;
const BOTTOM: i32 = 48;
/// The least distance between two names.
const NAME: i32 = 14;

/// Draws plots, two in a row.
pub(crate) fn draw(title: &str, plots: &[Plot]) -> String {
    let rows = plots.len().div_ceil(2) as i32;
    canvas::draw((WIDTH * 2, TITLE + HEIGHT * rows), |canvas| {
        canvas.word(&format!("{title} (all CPUs)"), (12, 18), Side::Right, 16, INK);
        for (index, plot) in plots.iter().enumerate() {
            let (row, column) = (index as i32 / 2, index as i32 % 2);
            draw_plot(canvas, WIDTH * column, TITLE + HEIGHT * row, plot);
        }
    })
}

fn draw_plot(canvas: &Canvas<'_>, left: i32, above: i32, plot: &Plot) {
    let (top, bottom) = (above + TOP, above + HEIGHT - BOTTOM);
    let points = || plot.lines.iter().flat_map(|line| &line.points);
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (mut least, mut most) = (f64::MAX, f64::MIN);
        for value in values {
            (least, most) = (least.min(value), most.max(value));
        }
        (least.log10().floor(), most.log10().ceil())
    };
    let (first, last) = range(&mut points().map(|point| point.0));
    let (low, high) = range(&mut points().map(|point| point.1));
    let (width, height) = (f64::from(WIDTH - LEFT - NAMES), f64::from(bottom - top));
    let x = |value: f64| left + LEFT + ((value.log10() - first) / (last - first) * width) as i32;
    let y = |value: f64| bottom - ((value.log10() - low) / (high - low) * height) as i32;
    canvas.word(plot.title, (left + LEFT, top - 18), Side::Right, 13, INK);
    canvas.word(plot.across, (x(10f64.powf((first + last) / 2.0)), bottom + 36), Side::Centre, 13, INK);
    for power in first as i32..=last as i32 {
        let value = 10f64.powi(power);
        canvas.line(vec![(x(value), top), (x(value), bottom)], PALE, 1);
        canvas.word(&grouped(value), (x(value), bottom + 14), Side::Centre, 12, INK);
    }
    for power in low as i32..=high as i32 {
        let value = 10f64.powi(power);
        canvas.line(vec![(x(10f64.powf(first)), y(value)), (x(10f64.powf(last)), y(value))], PALE, 1);
        canvas.word(&grouped(value), (left + LEFT - 6, y(value)), Side::Left, 12, INK);
    }
    // What matters most is drawn last, above the others.
    let mut lines: Vec<_> = plot.lines.iter().collect();
    lines.sort_by_key(|line| line.kind == Kind::Panpipe);
    for line in &lines {
        let thick = if line.kind == Kind::Panpipe { 3 } else { 1 };
        let path: Vec<_> = line.points.iter().map(|point| (x(point.0), y(point.1))).collect();
        path.iter().for_each(|point| canvas.dot(*point, colour(line.kind)));
        canvas.line(path, colour(line.kind), thick);
    }
    let mut names: Vec<_> = lines
        .iter()
        .filter_map(|line| line.points.last().map(|end| (y(end.1), x(end.0), end.1, *line)))
        .collect();
    names.sort_by_key(|(height, ..)| *height);
    // From the top down each name gets its room; what then hangs out is moved up.
    let mut heights: Vec<i32> = names.iter().map(|(height, ..)| *height).collect();
    for index in 1..heights.len() {
        heights[index] = heights[index].max(heights[index - 1] + NAME);
    }
    let mut lowest = bottom;
    for height in heights.iter_mut().rev() {
        *height = (*height).min(lowest);
        lowest = *height - NAME;
    }
    let edge = left + WIDTH - NAMES;
    for ((height, end, value, line), at) in names.into_iter().zip(heights) {
        let ink = match line.kind {
            Kind::Floor => GREY,
            Kind::Panpipe => colour(Kind::Panpipe),
            Kind::Other => INK,
        };
        canvas.line(vec![(end + 4, height), (edge + 8, at)], PALE, 1);
        canvas.word(&format!("{} {}", line.name, short(value)), (edge + 12, at), Side::Right, 12, ink);
    }
}

/// A power of ten as it is read.
fn grouped(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", value / 1e6),
        value if value >= 1e3 => format!("{} k", value / 1e3),
        value => format!("{value}"),
    }
}
