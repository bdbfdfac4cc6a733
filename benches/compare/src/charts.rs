//! Bar charts as SVG, readable on a light page and on a dark one: they have a white background of their own.

use crate::Result;
use crate::figures::{CPU_PER_DELIVERY, Figures, P99_TO_A_STREAM, title};
use crate::tables::figure;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

const WIDTH: i32 = 900;
/// Start of the bars and end of the longest; names are to the left of them, values to the right.
const LEFT: i32 = 170;
const RIGHT: i32 = 790;
/// Height of title and subtitle, and of the legend.
const TOP: i32 = 76;
const LEGEND: i32 = 26;
const ROW: i32 = 26;
const BAR: i32 = 18;
const HEADING: i32 = 34;
/// The numbers below a panel, and the room after them.
const AXIS: i32 = 36;

/// Largest ratio of a bar to the next one at which it is drawn in full.
const CUT: f64 = 3.0;

const INK: RGBColor = RGBColor(0x1f, 0x29, 0x33);
const FAINT: RGBColor = RGBColor(0x5f, 0x6b, 0x7a);
const GRID: RGBColor = RGBColor(0xe3, 0xe7, 0xec);
const OURS: RGBColor = RGBColor(0xd9, 0x6c, 0x1e);
const THEIRS: RGBColor = RGBColor(0x8d, 0xa2, 0xbd);
const FLOOR: RGBColor = RGBColor(0xc3, 0xc9, 0xd1);
const KERNEL: RGBColor = RGBColor(0x6f, 0x8f, 0xb8);
const USER: RGBColor = RGBColor(0xd9, 0x6c, 0x1e);

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

#[derive(Debug)]
struct Chart<'a> {
    title: &'a str,
    /// Meaning of the bars, with the unit.
    subtitle: String,
    legend: &'a [(&'a str, RGBColor)],
    scale: Scale,
    panels: Vec<Panel>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Linear,
    /// From the power of ten below the shortest bar.
    Logarithmic,
}

#[derive(Debug)]
struct Panel {
    heading: String,
    bars: Vec<Bar>,
}

#[derive(Debug)]
struct Bar {
    server: String,
    /// Pieces from left to right; `None` without a figure.
    pieces: Vec<(f64, RGBColor)>,
    /// Text after the bar.
    note: String,
}

/// Draws every chart for which there are figures.
pub(crate) fn draw(figures: &Figures, folder: &Path) -> Result<()> {
    let (machine, streams) = (figures.header.first().map_or("", String::as_str), |scenario: &str| {
        let line = figures.header.iter().find(|line| line.starts_with(scenario));
        line.and_then(|line| {
            line.split([' ', ':']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        })
        .unwrap_or_default()
        .to_owned()
    });

    let idle = single(figures, "memory", "RSS", " B");
    Chart {
        title: "Memory of an idle stream",
        subtitle: format!("bytes of RSS per stream, {} streams, logarithmic; {machine}", streams("memory")),
        legend: &[],
        scale: Scale::Logarithmic,
        panels: vec![Panel { heading: String::new(), bars: idle }],
    }
    .draw(&folder.join("idle.svg"))?;

    let panels = [
        ("fanout", "One event at a time"),
        ("burst-16", "16 events per turn"),
        ("burst-64", "64 events per turn"),
    ];
    Chart {
        title: "CPU time of a delivery",
        subtitle: format!(
            "nanoseconds of the server, {} streams, 64 bytes of data; {machine}",
            streams("fanout")
        ),
        legend: &[("in the kernel", KERNEL), ("in the server", USER)],
        scale: Scale::Linear,
        panels: panels
            .map(|(scenario, heading)| Panel {
                heading: heading.to_owned(),
                bars: delivery(figures, scenario),
            })
            .into(),
    }
    .draw(&folder.join("delivery.svg"))?;

    Chart {
        title: "Until an event is there",
        subtitle: format!(
            "milliseconds, 99 % of deliveries to {} streams, one event a second on schedule; {machine}",
            streams("latency")
        ),
        legend: &[],
        scale: Scale::Linear,
        panels: vec![Panel {
            heading: String::new(),
            bars: single(figures, "latency", P99_TO_A_STREAM, " ms"),
        }],
    }
    .draw(&folder.join("latency.svg"))?;

    Chart {
        title: "CPU time of a new stream",
        subtitle: format!("microseconds of the server, {} streams; {machine}", streams("accept")),
        legend: &[],
        scale: Scale::Linear,
        panels: vec![Panel {
            heading: String::new(),
            bars: single(figures, "accept", "server CPU per stream accepted", " µs"),
        }],
    }
    .draw(&folder.join("accept.svg"))
}

/// A bar of one piece for each server.
fn single(figures: &Figures, scenario: &str, metric: &str, unit: &str) -> Vec<Bar> {
    let bar = |server: &str| {
        let color = match server {
            "hub" => OURS,
            server if server.starts_with("floor") => FLOOR,
            _ => THEIRS,
        };
        let value = figures.median(scenario, server, metric);
        Bar {
            server: server.to_owned(),
            pieces: value.map(|value| (value, color)).into_iter().collect(),
            note: value.map_or_else(|| missing(figures, scenario, server), |value| figure(value) + unit),
        }
    };
    figures.servers(scenario).into_iter().map(bar).collect()
}

/// The bars of deliveries. Bursts are too short to split their time. The floor that writes each of their
/// events separately would make all other bars too short to read.
fn delivery(figures: &Figures, scenario: &str) -> Vec<Bar> {
    if scenario == "fanout" {
        return split(figures, scenario);
    }
    let mut bars = single(figures, scenario, CPU_PER_DELIVERY, " ns");
    bars.retain(|bar| bar.server != "floor");
    bars
}

/// A bar for each server, of its time in the kernel and outside.
fn split(figures: &Figures, scenario: &str) -> Vec<Bar> {
    let bar = |server: &str| {
        let delivery = figures.delivery(scenario, server);
        let pieces = match delivery {
            Some((nanos, Some(kernel))) => vec![(kernel, KERNEL), (nanos - kernel, USER)],
            Some((nanos, None)) => vec![(nanos, FLOOR)],
            None => Vec::new(),
        };
        let note = delivery
            .map_or_else(|| missing(figures, scenario, server), |(nanos, _)| format!("{} ns", figure(nanos)));
        Bar { server: server.to_owned(), pieces, note }
    };
    figures.servers(scenario).into_iter().map(bar).collect()
}

fn missing(figures: &Figures, scenario: &str, server: &str) -> String {
    match figures.failed(scenario, server) {
        (0, _) => "no figure".to_owned(),
        (failed, runs) => format!("failed in {failed} of {runs} runs"),
    }
}

fn style(size: i32, color: RGBColor, anchor: HPos) -> TextStyle<'static> {
    let style = TextStyle::from(("sans-serif", size).into_font()).pos(Pos::new(anchor, VPos::Center));
    TextStyle { color: color.to_backend_color(), ..style }
}

impl Chart<'_> {
    fn draw(&self, file: &Path) -> Result<()> {
        let panels = || self.panels.iter().filter(|panel| !panel.bars.is_empty());
        let legend = if self.legend.is_empty() { 0 } else { LEGEND };
        let height: i32 = TOP + legend + panels().map(Panel::height).sum::<i32>();
        let canvas =
            SVGBackend::new(file, (u32::try_from(WIDTH)?, u32::try_from(height)?)).into_drawing_area();
        canvas.fill(&WHITE)?;
        let bold = TextStyle {
            font: ("sans-serif", 20).into_font().style(FontStyle::Bold),
            ..style(20, INK, HPos::Left)
        };
        canvas.draw_text(self.title, &bold, (20, 28))?;
        canvas.draw_text(&self.subtitle, &style(13, FAINT, HPos::Left), (20, 54))?;
        let mut x = LEFT;
        for (name, color) in self.legend {
            canvas.draw(&Rectangle::new([(x, 76), (x + 14, 88)], color.filled()))?;
            canvas.draw_text(name, &style(13, INK, HPos::Left), (x + 20, 82))?;
            x += 130;
        }
        let mut top = TOP + legend;
        for panel in panels() {
            panel.draw(&canvas, self.scale, top)?;
            top += panel.height();
        }
        canvas.present()?;
        Ok(())
    }
}

impl Panel {
    fn heading_height(&self) -> i32 {
        if self.heading.is_empty() { 0 } else { HEADING }
    }

    fn height(&self) -> i32 {
        self.heading_height() + ROW * i32::try_from(self.bars.len()).unwrap_or(0) + AXIS
    }

    fn draw(&self, canvas: &Canvas<'_>, scale: Scale, top: i32) -> Result<()> {
        let sums = || self.bars.iter().map(|bar| bar.pieces.iter().map(|(value, _)| value).sum::<f64>());
        let mut longest = sums().fold(f64::NAN, f64::max);
        let shortest = sums().filter(|&sum| sum > 0.0).fold(f64::NAN, f64::min);
        // A bar that is far longer than all others is cut off, or they would be invisible.
        let second = sums().filter(|&sum| sum < longest).fold(0.0, f64::max);
        if scale == Scale::Linear && second > 0.0 && longest > CUT * second {
            longest = CUT / 2.0 * second;
        }
        let (ticks, place) = scale.axis(shortest, longest);
        let first = top + self.heading_height();
        let bottom = first + ROW * i32::try_from(self.bars.len())?;

        if !self.heading.is_empty() {
            let bold = ("sans-serif", 15).into_font().style(FontStyle::Bold);
            let bold = TextStyle { font: bold, ..style(15, INK, HPos::Left) };
            canvas.draw_text(&self.heading, &bold, (20, top + HEADING / 2))?;
        }
        for tick in ticks {
            let x = place(tick);
            canvas.draw(&PathElement::new([(x, first), (x, bottom)], GRID))?;
            canvas.draw_text(&figure_of_axis(tick), &style(11, FAINT, HPos::Center), (x, bottom + 10))?;
        }
        for (bar, at) in self.bars.iter().zip((first..).step_by(ROW as usize)) {
            let (upper, lower) = (at + (ROW - BAR) / 2, at + (ROW + BAR) / 2);
            let middle = at + ROW / 2;
            let mut name = style(14, INK, HPos::Right);
            if bar.server == "hub" {
                name.font = name.font.style(FontStyle::Bold);
            }
            canvas.draw_text(title(&bar.server), &name, (LEFT - 12, middle))?;
            let whole: f64 = bar.pieces.iter().map(|(value, _)| value).sum();
            // A bar that is cut off still shows the proportions of its pieces.
            let shown = if whole > longest { longest / whole } else { 1.0 };
            let (mut sum, mut x) = (0.0, LEFT);
            for (value, color) in &bar.pieces {
                sum += value * shown;
                // Tiny values have to be visible as well.
                let end = place(sum).max(LEFT + 1);
                canvas.draw(&Rectangle::new([(x, upper), (end, lower)], color.filled()))?;
                x = end;
            }
            if shown < 1.0 {
                // Two slanted strokes mark that.
                for stroke in [RIGHT - 40, RIGHT - 32] {
                    let gap = PathElement::new(
                        [(stroke, lower + 2), (stroke + 8, upper - 2)],
                        WHITE.stroke_width(3),
                    );
                    canvas.draw(&gap)?;
                }
            }
            canvas.draw_text(&bar.note, &style(13, INK, HPos::Left), (x + 8, middle))?;
        }
        canvas.draw(&PathElement::new([(LEFT, first), (LEFT, bottom)], FAINT))?;
        Ok(())
    }
}

impl Scale {
    /// Values with labels, and the position of a value.
    fn axis(self, shortest: f64, longest: f64) -> (Vec<f64>, impl Fn(f64) -> i32) {
        let usable = longest.is_finite() && longest > 0.0;
        let (shortest, longest) = if usable { (shortest, longest) } else { (1.0, 1.0) };
        let from = match self {
            Scale::Linear => 0.0,
            Scale::Logarithmic => 10f64.powf((shortest.log10() - 0.1).floor()),
        };
        let ticks = match self {
            Scale::Linear => {
                // About five, at round numbers.
                let rough = longest / 5.0;
                let power = 10f64.powf(rough.log10().floor());
                let step =
                    [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|&step| step >= rough);
                let step = step.unwrap_or(rough);
                (0..=6).map(|nth| f64::from(nth) * step).take_while(|&tick| tick <= longest).collect()
            }
            Scale::Logarithmic => {
                (0..12).map(|power| from * 10f64.powi(power)).take_while(|&tick| tick <= longest).collect()
            }
        };
        let place = move |value: f64| {
            let share = match self {
                Scale::Linear => value / longest,
                Scale::Logarithmic => (value / from).log10() / (longest / from).log10(),
            };
            // Within some hundred pixels.
            LEFT + (share.clamp(0.0, 1.0) * f64::from(RIGHT - LEFT)).round() as i32
        };
        (ticks, place)
    }
}

fn figure_of_axis(value: f64) -> String {
    let text = figure(value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
