//! What criterion left on disk: one folder a benchmark, `new/benchmark.json` and `new/estimates.json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One benchmark, times in nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) median: f64,
    /// Lower end of the median's 95 % confidence interval.
    pub(crate) low: f64,
    /// Its upper end.
    pub(crate) high: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) throughput: Option<Throughput>,
}

/// How much is done in one iteration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Throughput {
    pub(crate) unit: String,
    pub(crate) amount: f64,
}

/// The benchmarks under `folder` that were measured after `start`, by name: older ones may be of code that is gone.
pub(crate) fn since(folder: &Path, start: SystemTime) -> Result<BTreeMap<String, Row>> {
    let mut rows = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let estimates = folder.join("new/estimates.json");
        if estimates.metadata().and_then(|file| file.modified()).is_ok_and(|time| time >= start) {
            let (name, row) = row(&read(&folder.join("new/benchmark.json"))?, &read(&estimates)?);
            rows.insert(name, row);
        }
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        folders.extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()));
    }
    Ok(rows)
}

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
    /// `{"Elements": n}`, or another unit in the place of it.
    throughput: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

fn row(benchmark: &Benchmark, estimates: &Estimates) -> (String, Row) {
    let throughput =
        benchmark.throughput.iter().flatten().find_map(|(unit, amount)| {
            Some(Throughput { unit: unit.to_lowercase(), amount: amount.as_f64()? })
        });
    let median = &estimates.median;
    let row = Row {
        median: median.point_estimate,
        low: median.confidence_interval.lower_bound,
        high: median.confidence_interval.upper_bound,
        throughput,
    };
    (benchmark.full_id.clone(), row)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot understand `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criterion_files_are_read() -> Result<()> {
        let benchmark = r#"{"group_id":"kl","function_id":"1024x1000","value_str":null,
            "throughput":{"Elements":1024000},"full_id":"kl/1024x1000","directory_name":"kl/1024x1000","title":"kl"}"#;
        let estimates = r#"{"mean":{"confidence_interval":{"confidence_level":0.95,"lower_bound":1.0,"upper_bound":9.0},
            "point_estimate":5.0,"standard_error":1.0},"median":{"confidence_interval":{"confidence_level":0.95,
            "lower_bound":2.0,"upper_bound":4.0},"point_estimate":3.0,"standard_error":0.5},"slope":null}"#;
        let (name, row) = row(&serde_json::from_str(benchmark)?, &serde_json::from_str(estimates)?);
        let throughput = Some(Throughput { unit: "elements".to_owned(), amount: 1_024_000.0 });
        assert_eq!(
            (name.as_str(), row),
            ("kl/1024x1000", Row { median: 3.0, low: 2.0, high: 4.0, throughput })
        );
        Ok(())
    }
}
