//! Tables: medians with their spread, in columns.

use crate::Result;
use crate::rig::{Figures, Metric, Rig};
use crate::server::Subject;

pub(crate) const BUSY_SERVER: Metric = Metric { name: "one core busy with the server", unit: "%" };
pub(crate) const BUSY_CLIENT: Metric = Metric { name: "one core busy with the client", unit: "%" };
pub(crate) const BUSY_OTHERS: Metric = Metric { name: "one core busy with others", unit: "%" };

/// From this percentage on a core counts as fully busy; the rest is waking up and accounting.
const LIMIT: f64 = 90.0;

/// From this percentage of a core on, other load affects the figures.
const DISTURBED: f64 = 20.0;

/// A table whose first column is aligned to the left and the others to the right.
pub(crate) fn print(title: &str, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &'_ Vec<String>, column: usize| row.get(column).map_or(0, |cell| cell.chars().count());
    let widths: Vec<usize> =
        (0..columns).map(|column| rows.iter().map(|row| cell(row, column)).max().unwrap_or(0)).collect();
    println!("\n{title}");
    for row in rows {
        let mut line = String::new();
        for (column, (text, &width)) in row.iter().zip(&widths).enumerate() {
            line += &if column == 0 { format!("  {text:<width$}") } else { format!("   {text:>width$}") };
        }
        println!("{}", line.trim_end());
    }
}

/// Figures of servers that were measured in turn, run by run.
#[derive(Debug)]
pub(crate) struct Comparison {
    scenario: String,
    subjects: Vec<&'static str>,
    /// For each metric and each subject, the value of each run.
    samples: Vec<(Metric, Vec<Vec<f64>>)>,
    /// Runs without figures.
    failures: Vec<String>,
}

impl Comparison {
    pub(crate) fn new(scenario: &str, subjects: &[&'static str]) -> Comparison {
        Comparison {
            scenario: scenario.to_owned(),
            subjects: subjects.to_vec(),
            samples: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Adds one run of one subject. A peer may fail, by losing an event or a stream: that is a result too,
    /// and the measurements continue.
    pub(crate) fn add(
        &mut self,
        rig: &mut Rig,
        subject: Subject,
        run: usize,
        figures: Result<Figures>,
    ) -> Result<()> {
        match (figures, subject) {
            (Err(failure), Subject::Peer(peer)) => {
                self.failures.push(format!("{}, run {run}: {failure}", peer.name));
                rig.record.failure(&self.scenario, &peer.name, run, &failure.to_string())
            }
            (figures, _) => self.keep(rig, subject.name(), run, &figures?),
        }
    }

    /// Adds the figures of one run of one subject.
    pub(crate) fn keep(
        &mut self,
        rig: &mut Rig,
        subject: &'static str,
        run: usize,
        figures: &[(Metric, f64)],
    ) -> Result<()> {
        let place = self.subjects.iter().position(|&other| other == subject).ok_or("not a subject here")?;
        for &(metric, value) in figures {
            rig.record.figure(&self.scenario, subject, run, metric, value)?;
            let at = self.samples.iter().position(|(other, _)| *other == metric).unwrap_or_else(|| {
                self.samples.push((metric, vec![Vec::new(); self.subjects.len()]));
                self.samples.len() - 1
            });
            self.samples[at].1[place].push(value);
        }
        Ok(())
    }

    /// Prints a line for each metric: median (min … max) of each subject, then the ratio of the first subject
    /// to each other. Ratios are taken between neighbouring runs, so that disturbances cancel out.
    pub(crate) fn print(&self, title: &str) {
        let mut header = vec!["median (min … max)".to_owned()];
        header.extend(self.subjects.iter().map(|&subject| subject.to_owned()));
        // With peers there would be too many columns of ratios.
        let ratios = self.subjects.len() <= 3;
        let others = self.subjects.iter().skip(1).filter(|_| ratios);
        header.extend(others.map(|other| format!("{} / {}", self.subjects[0], other)));
        let mut rows = vec![header];
        for (metric, samples) in &self.samples {
            let mut row = vec![format!("{}, {}", metric.name, metric.unit)];
            row.extend(samples.iter().map(|values| spread(values)));
            // A quotient of two percentages is meaningless here.
            if ratios && metric.unit != "%" {
                for other in &samples[1..] {
                    let ratios: Vec<f64> = samples[0].iter().zip(other).map(|(a, b)| a / b).collect();
                    row.push(spread(&ratios));
                }
            }
            rows.push(row);
        }
        print(title, &rows);
        self.print_limits();
        for failure in &self.failures {
            println!("FAILED: {}: {failure}", self.scenario);
        }
    }

    /// Prints the bottleneck of each subject, if it was measured.
    fn print_limits(&self) {
        let median = |metric: Metric, subject: usize| {
            let (_, samples) = self.samples.iter().find(|(other, _)| *other == metric)?;
            median(&sorted(&samples[subject]))
        };
        for (at, name) in self.subjects.iter().enumerate() {
            let (Some(server), Some(client)) = (median(BUSY_SERVER, at), median(BUSY_CLIENT, at)) else {
                continue;
            };
            let limit = match (server >= LIMIT, client >= LIMIT) {
                (true, true) => "server and client were at their limit",
                (true, false) => "the server was at its limit",
                (false, true) => "the CLIENT was at its limit, so the server could do more",
                (false, false) => "neither server nor client was at its limit",
            };
            let others = median(BUSY_OTHERS, at).filter(|&others| others >= DISTURBED);
            let others = others
                .map(|others| format!("; others took {others:.0} % of a core, so the figures are rough"))
                .unwrap_or_default();
            println!("  {name}: {limit} ({server:.0} % and {client:.0} % of a core){others}");
        }
    }
}

fn spread(values: &[f64]) -> String {
    let sorted = sorted(values);
    match (median(&sorted), &sorted[..]) {
        (Some(median), [least, .., most]) => {
            format!("{} ({} … {})", figure(median), figure(*least), figure(*most))
        }
        (Some(only), _) => figure(only),
        (None, _) => "-".to_owned(),
    }
}

/// A run that is too short has no ticks.
fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// A measured value, to three digits or a little more.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => {
            let sign = if value < 0.0 { "-" } else { "" };
            format!("{sign}{}", thousands(&format!("{size:.0}")))
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// A count.
pub(crate) fn count(number: u64) -> String {
    thousands(&number.to_string())
}

fn thousands(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
