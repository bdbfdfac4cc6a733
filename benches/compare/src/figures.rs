//! The figures of the harness, run by run, and their medians and ratios.

use crate::Result;

#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Machine, method and servers.
    pub(crate) header: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    scenario: String,
    server: String,
    run: usize,
    metric: String,
    unit: String,
    value: f64,
}

/// A run without figures, as a stream or an event was lost.
#[derive(Debug)]
pub(crate) struct Failure<'a> {
    pub(crate) scenario: &'a str,
    pub(crate) server: &'a str,
    pub(crate) run: usize,
    pub(crate) reason: &'a str,
}

impl Figures {
    pub(crate) fn parse(text: &str) -> Result<Figures> {
        let mut figures = Figures::default();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                figures.header.push(comment.to_owned());
                continue;
            }
            let fields: Vec<&str> = line.split(',').collect();
            match fields[..] {
                ["scenario", ..] => {}
                [scenario, server, run, metric, unit, value] => figures.rows.push(Row {
                    scenario: scenario.to_owned(),
                    server: server.to_owned(),
                    run: run.parse()?,
                    metric: metric.to_owned(),
                    unit: unit.to_owned(),
                    value: value.parse()?,
                }),
                _ => return Err(format!("not a figure: {line}").into()),
            }
        }
        Ok(figures)
    }

    /// The servers of a scenario, in the order of their turns.
    pub(crate) fn servers(&self, scenario: &str) -> Vec<&str> {
        let mut servers: Vec<&str> = Vec::new();
        for row in self.rows.iter().filter(|row| row.scenario == scenario) {
            if !servers.contains(&row.server.as_str()) {
                servers.push(&row.server);
            }
        }
        servers
    }

    pub(crate) fn failures(&self) -> Vec<Failure<'_>> {
        let failed = self.rows.iter().filter(|row| row.metric == "failed");
        failed
            .map(|row| Failure {
                scenario: &row.scenario,
                server: &row.server,
                run: row.run,
                reason: &row.unit,
            })
            .collect()
    }

    /// Number of failed runs of a server, and of all.
    pub(crate) fn failed(&self, scenario: &str, server: &str) -> (usize, usize) {
        let rows = || self.rows.iter().filter(|row| row.scenario == scenario && row.server == server);
        let failed = rows().filter(|row| row.metric == "failed").count();
        (failed, rows().map(|row| row.run).max().unwrap_or(0))
    }

    /// The median over all runs. There is none if a single run has failed: a server that drops events must
    /// not look cheaper for it.
    pub(crate) fn median(&self, scenario: &str, server: &str, metric: &str) -> Option<f64> {
        median(self.samples(scenario, server, metric)?.into_iter().map(|(_, value)| value).collect())
    }

    /// The median of the ratios to another server.
    pub(crate) fn ratio(&self, scenario: &str, server: &str, other: &str, metric: &str) -> Option<f64> {
        median(self.ratios(scenario, server, other, metric)?)
    }

    /// The ratios to another server, the lowest first. Each is taken between neighbouring runs, so that
    /// disturbances cancel out.
    pub(crate) fn ratios(&self, scenario: &str, server: &str, other: &str, metric: &str) -> Option<Vec<f64>> {
        let others = self.samples(scenario, other, metric)?;
        let ratios = self.samples(scenario, server, metric)?.into_iter().filter_map(|(run, value)| {
            let (_, other) = others.iter().find(|(other, _)| *other == run)?;
            Some(value / other)
        });
        let mut ratios: Vec<f64> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        Some(ratios)
    }

    /// The value of each run.
    fn samples(&self, scenario: &str, server: &str, metric: &str) -> Option<Vec<(usize, f64)>> {
        let rows = self.rows.iter().filter(|row| {
            row.scenario == scenario && row.server == server && row.metric == metric && row.value.is_finite()
        });
        let samples: Vec<(usize, f64)> = rows.map(|row| (row.run, row.value)).collect();
        (self.failed(scenario, server).0 == 0 && !samples.is_empty()).then_some(samples)
    }

    /// CPU time of a delivery in nanoseconds: in the kernel, and in the program.
    pub(crate) fn delivery(&self, scenario: &str, server: &str) -> Option<(f64, Option<f64>)> {
        let nanos = self.median(scenario, server, CPU_PER_DELIVERY)?;
        // The kernel samples it in ticks: a run may be too short for one.
        let kernel =
            self.median(scenario, server, "of it in the kernel").map(|percent| nanos * percent / 100.0);
        Some((nanos, kernel))
    }
}

pub(crate) const CPU_PER_DELIVERY: &str = "server CPU per delivery";
pub(crate) const P99_TO_A_STREAM: &str = "to a stream p99";

/// The displayed name of a server.
pub(crate) fn title(server: &str) -> &str {
    match server {
        "hub" => "mio-sse",
        "floor --coalesce" => "floor, coalescing",
        "node" => "Node",
        "go" => "Go",
        "nchan" => "nginx + nchan",
        other => other,
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}
