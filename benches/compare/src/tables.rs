//! Tables in Markdown: medians, and ratios to the floor.

use crate::figures::{CPU_PER_DELIVERY, Figures, P99_TO_A_STREAM, title};

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
    let rows = figures.servers("memory").into_iter().map(|server| {
        let metric = |name| figures.median("memory", server, name);
        vec![
            name(figures, "memory", server),
            cell(metric("RSS"), 1.0),
            cell(metric("RSS anonymous"), 1.0),
            cell(figures.ratio("memory", server, "hub", "RSS"), 1.0),
            cell(metric("kernel memory both ends"), 1.0),
        ]
    });
    table(
        "Memory per idle stream",
        &["", "RSS, bytes", "anonymous, bytes", "to mio-sse", "kernel, both ends, bytes"],
        rows,
    );
}

fn delivery(figures: &Figures) {
    let scenario = "fanout";
    let rows = figures.servers(scenario).into_iter().map(|server| {
        let metric = |name| figures.median(scenario, server, name);
        let cpu = figures.delivery(scenario, server);
        let kernel = cpu.and_then(|(_, kernel)| kernel);
        vec![
            name(figures, scenario, server),
            cell(cpu.map(|(nanos, _)| nanos), 1.0),
            cell(cpu.and_then(|(nanos, kernel)| Some(nanos - kernel?)), 1.0),
            cell(kernel, 1.0),
            ratio(figures, scenario, server, "floor", CPU_PER_DELIVERY),
            cell(metric("deliveries per second"), 1e3),
            cell(metric("to the last stream p99"), 1.0),
            cell(metric("bytes per delivery"), 1.0),
            cell(metric("one core busy with the server"), 1.0),
        ]
    });
    table(
        "One event at a time",
        &[
            "",
            "CPU per delivery, ns",
            "user",
            "kernel",
            "to floor",
            "deliveries per second",
            "p99 to the last, ms",
            "bytes",
            "server's core busy, %",
        ],
        rows,
    );
}

/// Too short for more: user and kernel time are counted in ticks, and of so few turns there is no 99th of a hundred.
fn burst(figures: &Figures, scenario: &str, heading: &str) {
    let rows = figures.servers(scenario).into_iter().map(|server| {
        let metric = |name| figures.median(scenario, server, name);
        vec![
            name(figures, scenario, server),
            cell(metric(CPU_PER_DELIVERY), 1.0),
            ratio(figures, scenario, server, "floor --coalesce", CPU_PER_DELIVERY),
            cell(metric("deliveries per second"), 1e3),
            cell(metric("to the last stream p50"), 1.0),
            cell(metric("bytes per delivery"), 1.0),
            cell(metric("one core busy with the server"), 1.0),
        ]
    });
    table(
        heading,
        &[
            "",
            "CPU per delivery, ns",
            "to floor, coalescing",
            "deliveries per second",
            "p50 to the last, ms",
            "bytes",
            "server's core busy, %",
        ],
        rows,
    );
}

fn latency(figures: &Figures) {
    let rows = figures.servers("latency").into_iter().map(|server| {
        let metric = |name| figures.median("latency", server, name);
        vec![
            name(figures, "latency", server),
            cell(metric("to a stream p50"), 1.0),
            cell(metric(P99_TO_A_STREAM), 1.0),
            cell(metric("to a stream p99.9"), 1.0),
            cell(metric("to a stream max"), 1.0),
            ratio(figures, "latency", server, "floor", P99_TO_A_STREAM),
            cell(metric("to the last stream p50"), 1.0),
            cell(metric(CPU_PER_DELIVERY), 1.0),
            cell(metric("one core busy with the server"), 1.0),
        ]
    });
    table(
        "One event a second, on schedule",
        &[
            "",
            "p50, ms",
            "p99",
            "p99.9",
            "slowest",
            "p99 to floor",
            "p50 to the last",
            "CPU per delivery, ns",
            "server's core busy, %",
        ],
        rows,
    );
}

fn accept(figures: &Figures) {
    let rows = figures.servers("accept").into_iter().map(|server| {
        let metric = |name| figures.median("accept", server, name);
        let accepted = "server CPU per stream accepted";
        vec![
            name(figures, "accept", server),
            cell(metric(accepted), 1.0),
            ratio(figures, "accept", server, "floor", accepted),
            cell(metric("streams accepted per second"), 1.0),
            cell(metric("server CPU per stream that left"), 1.0),
        ]
    });
    table(
        "Coming and going",
        &[
            "",
            "CPU per stream accepted, µs",
            "to floor",
            "accepted per second",
            "CPU per stream that left, µs",
        ],
        rows,
    );
    println!("\nNo figure for streams that left: the server had not noticed them within two seconds.");
}

/// The median of the ratios, and the least and the greatest.
fn ratio(figures: &Figures, scenario: &str, server: &str, other: &str, metric: &str) -> String {
    match figures.ratios(scenario, server, other, metric).as_deref() {
        Some([least, .., most]) if server != other => {
            let median = cell(figures.ratio(scenario, server, other, metric), 1.0);
            format!("{median} ({} … {})", figure(*least), figure(*most))
        }
        _ => cell(figures.ratio(scenario, server, other, metric), 1.0),
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
        // A number of things.
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

/// Numbers to the right, and wide enough that the source can be read too.
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
