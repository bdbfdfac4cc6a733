//! Every single figure in a file, for programs: as CSV, as JSON, or both.

use crate::Result;
use crate::args::Args;
use crate::rig::Metric;
use serde_json::json;
use std::fs::File;
use std::io::Write;

#[derive(Debug)]
pub(crate) struct Record {
    csv: Option<File>,
    json: Option<File>,
}

impl Record {
    /// Creates the files first, so that an error shows before anything is measured.
    pub(crate) fn create(args: &Args, machine: &str) -> Result<Record> {
        let create = |path: &std::path::PathBuf| {
            File::create(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let mut record = Record {
            csv: args.csv.as_ref().map(create).transpose()?,
            json: args.json.as_ref().map(create).transpose()?,
        };
        if let Some(csv) = &mut record.csv {
            writeln!(csv, "# {machine}\nscenario,server,run,metric,unit,value")?;
        }
        if let Some(json) = &mut record.json {
            writeln!(json, "{}", json!({ "machine": machine }))?;
        }
        Ok(record)
    }

    /// Records one figure of one run.
    pub(crate) fn figure(
        &mut self,
        scenario: &str,
        server: &str,
        run: usize,
        Metric { name, unit }: Metric,
        value: f64,
    ) -> Result<()> {
        if let Some(csv) = &mut self.csv {
            writeln!(csv, "{scenario},{server},{run},{name},{unit},{value}")?;
        }
        if let Some(json) = &mut self.json {
            let figure = json!({
                "scenario": scenario, "server": server, "run": run, "metric": name, "unit": unit, "value": value,
            });
            writeln!(json, "{figure}")?;
        }
        Ok(())
    }

    /// Records that a run gave no figures: in CSV with the reason instead of a unit.
    pub(crate) fn failure(&mut self, scenario: &str, server: &str, run: usize, reason: &str) -> Result<()> {
        if let Some(csv) = &mut self.csv {
            let reason = reason.replace([',', '"', '\n'], ";");
            writeln!(csv, "{scenario},{server},{run},failed,{reason},1")?;
        }
        if let Some(json) = &mut self.json {
            let failure = json!({ "scenario": scenario, "server": server, "run": run, "failed": reason });
            writeln!(json, "{failure}")?;
        }
        Ok(())
    }
}
