//! A bar for each peer, the best first.

use panpipe_benches::peer::Kind;
use panpipe_benches::results::short;

use crate::canvas::{self, INK, PALE, Side, colour};

/// A peer's figure.
pub(crate) struct Bar {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) value: f64,
    pub(crate) spread: (f64, f64),
}

/// The bars of one way of measuring.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) bars: Vec<Bar>,
}

const WIDTH: i32 = 500;
const HEAD: i32 = 64;
const ROW: i32 = 19;
const NAMES: i32 = 150;
/// Room for the value behind a bar.
const VALUES: i32 = 64;

/// Draws panels side by side.
pub(crate) fn draw(title: &str, better: &str, panels: &[Panel], less_is_better: bool) -> String {
    let rows = panels.iter().map(|panel| panel.bars.len()).max().unwrap_or(0) as i32;
    let size = (WIDTH * panels.len() as i32, HEAD + ROW * rows + 12);
    canvas::draw(size, |canvas| {
        canvas.word(&format!("{title} ({better})"), (12, 18), Side::Right, 16, INK);
        for (index, panel) in panels.iter().enumerate() {
            let left = WIDTH * index as i32;
            canvas.word(panel.title, (left + NAMES, 46), Side::Right, 13, INK);
            let mut bars: Vec<_> = panel.bars.iter().collect();
            bars.sort_by(|one, other| one.value.total_cmp(&other.value));
            if !less_is_better {
                bars.reverse();
            }
            // The bare system may be far off: it must not press the others flat.
            let calls = bars.iter().filter(|bar| bar.kind != Kind::Floor).map(|bar| bar.spread.1);
            let most = calls
                .reduce(f64::max)
                .unwrap_or_else(|| bars.iter().map(|bar| bar.spread.1).reduce(f64::max).unwrap_or(1.0));
            let room = WIDTH - NAMES - VALUES;
            let length = |value: f64| (value / most * f64::from(room)).min(f64::from(room)) as i32;
            let start = left + NAMES;
            for (row, bar) in bars.iter().enumerate() {
                let middle = HEAD + ROW * row as i32 + ROW / 2;
                let end = start + length(bar.value).max(1);
                let bold = bar.kind == Kind::Panpipe;
                let ink = if bold { colour(Kind::Panpipe) } else { INK };
                canvas.word(bar.name, (start - 6, middle), Side::Left, 13, ink);
                canvas.block((start, middle - 6), (end, middle + 6), colour(bar.kind));
                if bar.value > most {
                    // It goes on.
                    for dash in [10, 5] {
                        canvas.line(
                            vec![(end - dash, middle + 7), (end - dash + 4, middle - 7)],
                            canvas::WHITE,
                            2,
                        );
                    }
                } else if bar.spread.0 < bar.spread.1 {
                    let (low, high) = (start + length(bar.spread.0), start + length(bar.spread.1));
                    canvas.line(vec![(low, middle), (high, middle)], INK, 1);
                }
                let behind = end.max(start + if bar.value > most { 0 } else { length(bar.spread.1) });
                canvas.word(&short(bar.value), (behind + 5, middle), Side::Right, 12, ink);
            }
            canvas.line(vec![(start, HEAD - 4), (start, HEAD + ROW * rows)], PALE, 1);
        }
    })
}
