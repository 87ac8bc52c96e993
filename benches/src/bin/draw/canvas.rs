//! Boxes, lines and words on a white ground.

use panpipe_benches::peer::Kind;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A chart that is being drawn.
pub(crate) struct Canvas<'a>(DrawingArea<SVGBackend<'a>, plotters::coord::Shift>);

/// Where a word stands, seen from its point.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Left,
    Right,
    Centre,
}

pub(crate) use plotters::style::WHITE;
pub(crate) const INK: RGBColor = RGBColor(40, 40, 40);
/// Words in grey, which have to be read.
pub(crate) const GREY: RGBColor = RGBColor(120, 120, 120);
pub(crate) const PALE: RGBColor = RGBColor(225, 225, 225);

/// The colour of what a peer is.
pub(crate) fn colour(kind: Kind) -> RGBColor {
    match kind {
        Kind::Floor => RGBColor(190, 190, 190),
        Kind::Panpipe => RGBColor(217, 72, 15),
        Kind::Other => RGBColor(92, 138, 184),
    }
}

/// Draws a chart of a size; gives it as SVG.
pub(crate) fn draw(size: (i32, i32), draw: impl FnOnce(&Canvas<'_>)) -> String {
    let mut svg = String::new();
    {
        let size = (size.0.unsigned_abs(), size.1.unsigned_abs());
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).expect("a text can be written");
        let canvas = Canvas(area);
        draw(&canvas);
        canvas.0.present().expect("a text can be written");
    }
    svg
}

impl Canvas<'_> {
    pub(crate) fn block(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor) {
        self.0.draw(&Rectangle::new([from, to], colour.filled())).expect("a text can be written");
    }

    pub(crate) fn line(&self, points: Vec<(i32, i32)>, colour: RGBColor, width: u32) {
        self.0.draw(&PathElement::new(points, colour.stroke_width(width))).expect("a text can be written");
    }

    pub(crate) fn dot(&self, point: (i32, i32), colour: RGBColor) {
        self.0.draw(&Circle::new(point, 3, colour.filled())).expect("a text can be written");
    }

    pub(crate) fn word(&self, word: &str, point: (i32, i32), side: Side, size: i32, colour: RGBColor) {
        let across = match side {
            Side::Left => HPos::Right,
            Side::Right => HPos::Left,
            Side::Centre => HPos::Center,
        };
        let style = TextStyle::from(("sans-serif", size).into_font())
            .color(&colour)
            .pos(Pos::new(across, VPos::Center));
        self.0.draw(&Text::new(word.to_owned(), point, style)).expect("a text can be written");
    }
}
