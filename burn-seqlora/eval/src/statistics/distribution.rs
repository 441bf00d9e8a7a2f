//! A mean over concepts with everything that is said about its spread.

use serde::{Deserialize, Serialize};

use super::Bootstrap;

/// Values of a number of concepts, summarised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// The number of values.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Standard deviation, with count − 1 in the denominator; `None` for one value.
    pub std: Option<f64>,
    /// Standard error of the mean: std / √count. This is the ± of the paper's tables.
    pub sem: Option<f64>,
    /// Bootstrap interval of the mean; `None` for one value.
    pub interval: Option<[f64; 2]>,
}

impl Distribution {
    /// Summarises values; `None` if there are none.
    pub fn of(values: &[f64], bootstrap: &Bootstrap) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
        let std = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
        let sem = std.map(|std| std / (count as f64).sqrt());
        Some(Self { count, mean, std, sem, interval: bootstrap.interval(values) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PairedDifference, holm, quantile};
    use super::*;
    use serde_json::Value;

    /// numpy's figures, by `tests/reference/make_statistics_fixture.py`.
    const FIXTURE: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/statistics.json"));

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    }

    #[test]
    fn moments_quantiles_and_intervals_are_those_of_numpy() {
        let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
        for case in fixture["cases"].as_array().unwrap() {
            let values = numbers(&case["values"]);
            let found = Distribution::of(&values, &Bootstrap::default()).unwrap();
            let close = |found: f64, key: &str, bound: f64| {
                let expected = case[key].as_f64().unwrap();
                assert!((found - expected).abs() <= bound, "{key}: {found} and {expected}");
            };
            close(found.mean, "mean", 1e-12);
            close(found.std.unwrap(), "std", 1e-12);
            close(found.sem.unwrap(), "sem", 1e-12);
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            for (share, expected) in
                numbers(&case["shares"]).into_iter().zip(numbers(&case["quantiles"]))
            {
                assert!((quantile(&sorted, share) - expected).abs() < 1e-12);
            }
            // Both are drawn: 10,000 and 200,000 times. The bound is a twentieth of the interval.
            let [low, high] = found.interval.unwrap();
            let expected = numbers(&case["interval"]);
            let bound = (expected[1] - expected[0]) / 20.0;
            assert!((low - expected[0]).abs() < bound, "{low} and {}", expected[0]);
            assert!((high - expected[1]).abs() < bound, "{high} and {}", expected[1]);
        }
    }

    #[test]
    fn comparisons_are_those_of_numpy() {
        let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
        for case in fixture["paired"].as_array().unwrap() {
            let [first, second] = ["first", "second"].map(|key| numbers(&case[key]));
            let found = PairedDifference::of(&first, &second, &Bootstrap::default()).unwrap();
            let expected = case["p"].as_f64().unwrap();
            // Few values are enumerated on both sides, many are drawn.
            let bound = if first.len() <= 14 { 1e-12 } else { 0.01 };
            assert!((found.p - expected).abs() <= bound, "{} and {expected}", found.p);
            assert!((found.difference.mean - case["mean"].as_f64().unwrap()).abs() < 1e-12);
        }
        let case = &fixture["holm"];
        let found = holm(&numbers(&case["p"]));
        for (found, expected) in found.into_iter().zip(numbers(&case["adjusted"])) {
            assert!((found - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn one_value_has_no_spread_and_none_no_mean() {
        let one = Distribution::of(&[0.5], &Bootstrap::default()).unwrap();
        assert_eq!((one.mean, one.std, one.sem, one.interval), (0.5, None, None, None));
        assert_eq!(Distribution::of(&[], &Bootstrap::default()), None);
    }
}
