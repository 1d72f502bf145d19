//! The plot: bits a weight against accuracy lost, one mark a format, as SVG that needs no program to draw.

use std::fmt::Write as _;

use super::experiment::Reached;
use super::table::differences;
use crate::statistics::spread;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 50.0;
const TOP: f64 = 30.0;
const RIGHT: f64 = 20.0;

/// The series, in the order of [`super::experiment::FURTHER`].
const SERIES: [(&str, &str); 3] =
    [("rounded", "#b3392f"), ("trained", "#2f6db3"), ("trained with the teacher", "#2f9a57")];

/// Losses below this many points are drawn at it: the axis is logarithmic.
const LEAST: f64 = 0.01;

pub(crate) fn svg(reached: &Reached) -> String {
    let mut points: [Vec<(f64, f64, &str)>; 3] = Default::default();
    for (row, format) in &reached.formats {
        let Ok(format) = format else { continue };
        let bits = spread(&format.rounded.iter().map(|r| r.bits_per_weight).collect::<Vec<_>>()).0;
        for ((series, found), float) in points.iter_mut().zip(&format.accuracy).zip(&reached.float) {
            series.push((bits, -spread(&differences(found, float)).0, row.name));
        }
    }
    let most = points.iter().flatten().fold(1.0_f64, |most, point| most.max(point.1)).log10().ceil();
    let x = |bits: f64| LEFT + (bits.log2() / 4.2) * (WIDTH - LEFT - RIGHT);
    let low = LEAST.log10();
    let y = |lost: f64| {
        let share = (lost.max(LEAST).log10() - low) / (most - low);
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for bits in [1.0, 2.0, 4.0, 8.0, 16.0] {
        let _ = writeln!(
            out,
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{1}\" stroke=\"#ddd\"/><text x=\"{0:.1}\" y=\"{2}\" text-anchor=\"middle\">{bits}</text>",
            x(bits),
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0,
        );
    }
    let mut decade = low;
    while decade <= most {
        let lost = 10_f64.powf(decade);
        let label = if decade == low { format!("≤ {lost}") } else { format!("{lost}") };
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#ddd\"/><text x=\"{2}\" y=\"{1:.1}\" text-anchor=\"end\">{label}</text>",
            WIDTH - RIGHT,
            y(lost),
            LEFT - 6.0,
        );
        decade += 1.0;
    }
    for ((name, color), series) in SERIES.iter().zip(&points) {
        for (bits, lost, format) in series {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{color}\" fill-opacity=\"0.75\"><title>{format}, {name}: {lost:+.2} points lost at {bits:.2} bits</title></circle>",
                x(*bits),
                y(*lost),
            );
        }
    }
    for (at, (name, color)) in SERIES.iter().enumerate() {
        let top = TOP + 14.0 * at as f64;
        let _ = writeln!(
            out,
            "<circle cx=\"{}\" cy=\"{top}\" r=\"4\" fill=\"{color}\"/><text x=\"{}\" y=\"{}\">{name}</text>",
            WIDTH - 190.0,
            WIDTH - 180.0,
            top + 4.0,
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">bits a weight</text>\n\
         <text x=\"16\" y=\"{}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {2})\">points of accuracy lost, {}</text>\n</svg>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0,
        (TOP + HEIGHT - BOTTOM) / 2.0,
        reached.data,
    );
    out
}
