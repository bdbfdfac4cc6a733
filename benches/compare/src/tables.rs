//! Tables in Markdown: medians, and ratios to the floor.

use crate::figures::{CPU_PER_DELIVERY, Figures, P99_TO_A_STREAM, title};

const DELIVERIES_PER_SECOND: &str = "deliveries per second";
const BYTES_PER_DELIVERY: &str = "bytes per delivery";
const P50_TO_THE_LAST: &str = "to the last stream p50";
const SERVER_BUSY: &str = "one core busy with the server";

pub(crate) fn print(figures: &Figures) {
    println!();
    for line in &figures.header {
        println!("{line}");
    }
    memory(figures);
    delivery(figures);
    burst(figures, "burst-16", "16 events per turn");
    burst(figures, "burst-64", "64 events per turn");
    latency(figures);
    accept(figures);
    let failures = figures.failures();
    if !failures.is_empty() {
        println!("\nRuns without figures:\n");
        for failure in failures {
            println!(
                "- {}, {}, run {}: {}",
                title(failure.server),
                failure.scenario,
                failure.run,
                failure.reason
            );
        }
    }
}

fn memory(figures: &Figures) {
    let of = Scenario { figures, name: "memory" };
    of.print(
        "Memory per idle stream",
        &[
            ("RSS, bytes", &|server| of.median(server, "RSS", 1.0)),
            ("anonymous, bytes", &|server| of.median(server, "RSS anonymous", 1.0)),
            ("to mio-sse", &|server| cell(figures.ratio("memory", server, "hub", "RSS"), 1.0)),
            ("kernel, both ends, bytes", &|server| of.median(server, "kernel memory both ends", 1.0)),
        ],
    );
}

fn delivery(figures: &Figures) {
    let of = Scenario { figures, name: "fanout" };
    let cpu = |server: &str| figures.delivery(of.name, server);
    let user = |server: &str| cpu(server).and_then(|(nanos, kernel)| Some(nanos - kernel?));
    of.print(
        "One event at a time",
        &[
            ("CPU per delivery, ns", &|server| of.median(server, CPU_PER_DELIVERY, 1.0)),
            ("user", &|server| cell(user(server), 1.0)),
            ("kernel", &|server| cell(cpu(server).and_then(|(_, kernel)| kernel), 1.0)),
            ("to floor", &|server| of.ratio(server, "floor", CPU_PER_DELIVERY)),
            ("deliveries per second", &|server| of.median(server, DELIVERIES_PER_SECOND, 1e3)),
            ("p99 to the last, ms", &|server| of.median(server, "to the last stream p99", 1.0)),
            ("bytes", &|server| of.median(server, BYTES_PER_DELIVERY, 1.0)),
            ("server's core busy, %", &|server| of.median(server, SERVER_BUSY, 1.0)),
        ],
    );
}

/// The runs are too short for more: user and kernel time are counted in ticks, and so few turns have no 99th
/// percentile.
fn burst(figures: &Figures, name: &str, heading: &str) {
    let of = Scenario { figures, name };
    of.print(
        heading,
        &[
            ("CPU per delivery, ns", &|server| of.median(server, CPU_PER_DELIVERY, 1.0)),
            ("to floor, coalescing", &|server| of.ratio(server, "floor --coalesce", CPU_PER_DELIVERY)),
            ("deliveries per second", &|server| of.median(server, DELIVERIES_PER_SECOND, 1e3)),
            ("p50 to the last, ms", &|server| of.median(server, P50_TO_THE_LAST, 1.0)),
            ("bytes", &|server| of.median(server, BYTES_PER_DELIVERY, 1.0)),
            ("server's core busy, %", &|server| of.median(server, SERVER_BUSY, 1.0)),
        ],
    );
}

fn latency(figures: &Figures) {
    let of = Scenario { figures, name: "latency" };
    of.print(
        "One event a second, on schedule",
        &[
            ("p50, ms", &|server| of.median(server, "to a stream p50", 1.0)),
            ("p99", &|server| of.median(server, P99_TO_A_STREAM, 1.0)),
            ("p99.9", &|server| of.median(server, "to a stream p99.9", 1.0)),
            ("slowest", &|server| of.median(server, "to a stream max", 1.0)),
            ("p99 to floor", &|server| of.ratio(server, "floor", P99_TO_A_STREAM)),
            ("p50 to the last", &|server| of.median(server, P50_TO_THE_LAST, 1.0)),
            ("CPU per delivery, ns", &|server| of.median(server, CPU_PER_DELIVERY, 1.0)),
            ("server's core busy, %", &|server| of.median(server, SERVER_BUSY, 1.0)),
        ],
    );
}

fn accept(figures: &Figures) {
    const ACCEPTED: &str = "server CPU per stream accepted";
    let of = Scenario { figures, name: "accept" };
    of.print(
        "Coming and going",
        &[
            ("CPU per stream accepted, µs", &|server| of.median(server, ACCEPTED, 1.0)),
            ("to floor", &|server| of.ratio(server, "floor", ACCEPTED)),
            ("accepted per second", &|server| of.median(server, "streams accepted per second", 1.0)),
            ("CPU per stream that left, µs", &|server| {
                of.median(server, "server CPU per stream that left", 1.0)
            }),
        ],
    );
    println!("\nNo figure for streams that left: the server had not noticed them within two seconds.");
}

/// The figures of one scenario for a table, with a row for each server.
#[derive(Clone, Copy)]
struct Scenario<'a> {
    figures: &'a Figures,
    name: &'a str,
}

/// The heading of a column, and its value for a server.
type Column<'a> = (&'a str, &'a dyn Fn(&str) -> String);

impl Scenario<'_> {
    fn print(self, heading: &str, columns: &[Column<'_>]) {
        let mut header = vec![""];
        header.extend(columns.iter().map(|(heading, _)| *heading));
        let rows = self.figures.servers(self.name).into_iter().map(|server| {
            let mut row = vec![name(self.figures, self.name, server)];
            row.extend(columns.iter().map(|(_, value)| value(server)));
            row
        });
        table(heading, &header, rows);
    }

    fn median(self, server: &str, metric: &str, times: f64) -> String {
        cell(self.figures.median(self.name, server, metric), times)
    }

    /// The median of the ratios, the lowest and the highest.
    fn ratio(self, server: &str, other: &str, metric: &str) -> String {
        let median = cell(self.figures.ratio(self.name, server, other, metric), 1.0);
        match self.figures.ratios(self.name, server, other, metric).as_deref() {
            Some([least, .., most]) if server != other => {
                format!("{median} ({} … {})", figure(*least), figure(*most))
            }
            _ => median,
        }
    }
}

/// A server, and whether its figures are missing for a reason.
fn name(figures: &Figures, scenario: &str, server: &str) -> String {
    match figures.failed(scenario, server) {
        (0, _) => title(server).to_owned(),
        (failed, runs) => format!("{} (FAILED in {failed} of {runs} runs)", title(server)),
    }
}

fn cell(value: Option<f64>, times: f64) -> String {
    value.map_or("-".to_owned(), |value| figure(value * times))
}

/// A measured value, to about three digits.
pub(crate) fn figure(value: f64) -> String {
    let digits = match value.abs() {
        // A count.
        size if size.fract() == 0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && grouped != "-" {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() { grouped } else { format!("{grouped}.{rest}") }
}

/// Numbers are aligned to the right, and wide enough to read the source.
pub(crate) fn table(heading: &str, header: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return;
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str);
        cells.chain([header[column]]).map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.into_iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    println!("\n{heading}:\n\n{}", line(header.to_vec()));
    let rules = widths.iter().enumerate();
    let rules: Vec<String> = rules
        .map(
            |(column, &width)| {
                if column == 0 { "-".repeat(width + 2) } else { format!("{}:", "-".repeat(width + 1)) }
            },
        )
        .collect();
    println!("|{}|", rules.join("|"));
    for row in &rows {
        println!("{}", line(row.iter().map(String::as_str).collect()));
    }
}
