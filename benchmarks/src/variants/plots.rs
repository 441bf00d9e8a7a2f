//! Plots of comparisons: scores over the number of concepts, forgetting over the order, scores over seconds.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use burn_seqlora::eval::MetricInfo;
use burn_seqlora::eval::results::{ConceptRow, Plot, Point, Series, line_plot};
use burn_seqlora::eval::statistics::Distribution;
use clap::Args;

use super::result::SeedResult;
use crate::failure::Failure;

/// Of how many places in the order a point of the forgetting plot is the mean, as a share of all.
const PLACES: usize = 8;

/// Which results, and where the plots go.
#[derive(Debug, Args)]
pub struct Options {
    /// Folders that `methods --results` wrote; each is a comparison of some number of concepts.
    #[arg(required = true, value_name = "DIR")]
    results: Vec<PathBuf>,
    /// Where the plots go.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// The seeds of a comparison.
struct Results {
    concepts: usize,
    /// At least one.
    seeds: Vec<SeedResult>,
}

impl Options {
    /// Draws everything.
    pub fn run(self) -> Result<(), Failure> {
        let mut all = self.results.iter().map(Results::read).collect::<Result<Vec<_>, _>>()?;
        all.sort_by_key(|results| results.concepts);
        fs::create_dir_all(&self.out)?;
        let metrics = all[0].seeds[0].evaluation.metrics.clone();
        for metric in &metrics {
            let mut plots = vec![over_concepts(&all, metric)];
            for results in &all {
                plots.extend([results.forgetting(metric), results.over_seconds(metric)]);
            }
            for plot in plots.into_iter().flatten() {
                fs::write(self.out.join(&plot.file), plot.to_svg())?;
                println!("{}: {}", plot.file, plot.title);
            }
        }
        Ok(())
    }
}

/// The score at the end over the number of concepts.
fn over_concepts(all: &[Results], metric: &MetricInfo) -> Option<Plot> {
    let mut names: Vec<&str> = Vec::new();
    for name in all.iter().flat_map(|results| results.names()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let series = names.into_iter().map(|name| {
        let point = |results: &Results| {
            let ends: Vec<f64> =
                results.rows(metric, name).filter_map(|(_, row)| row.end).collect();
            point(results.concepts as f64, &ends)
        };
        Series { name: name.into(), points: all.iter().filter_map(point).collect() }
    });
    let title =
        format!("{} at the end over the number of concepts, with 95 % intervals", metric.name);
    let file = format!("{}-over-concepts", metric.name);
    line_plot(&file, title, "concepts", &series.collect::<Vec<_>>())
}

impl Results {
    fn read(folder: &PathBuf) -> Result<Self, Failure> {
        let mut seeds: Vec<SeedResult> = Vec::new();
        for entry in fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "json") {
                let result = serde_json::from_str(&fs::read_to_string(&file)?);
                seeds.push(result.map_err(|e| format!("{}: {e}", file.display()))?);
            }
        }
        let first = seeds.first().ok_or_else(|| format!("{}: no results", folder.display()))?;
        let concepts = first.comparison.concepts;
        match seeds.iter().all(|seed| seed.comparison.concepts == concepts) {
            true => Ok(Self { concepts, seeds }),
            false => Err(format!("{}: numbers of concepts differ", folder.display()).into()),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.seeds[0].comparison.names()
    }

    /// A method's concepts of all seeds, each with the number of its seed.
    fn rows<'a>(
        &'a self,
        metric: &'a MetricInfo,
        method: &'a str,
    ) -> impl Iterator<Item = (usize, &'a ConceptRow)> {
        let seeds = self.seeds.iter().enumerate();
        let rows = seeds.flat_map(|(n, seed)| seed.evaluation.concepts.iter().map(move |r| (n, r)));
        rows.filter(move |(_, row)| row.metric == metric.name && row.method == method)
    }

    /// How much worse concepts are at the end than just learnt, over their place in the order.
    fn forgetting(&self, metric: &MetricInfo) -> Option<Plot> {
        let first = &self.seeds[0].comparison;
        let series = first.variant.iter().enumerate().map(|(number, variant)| {
            let mut places: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
            for (seed, row) in self.rows(metric, &variant.name) {
                let order = &self.seeds[seed].learnt[number].order;
                let place = order.iter().position(|id| *id == row.concept);
                // The last one has nothing after it.
                let place = place.filter(|place| place + 1 < order.len());
                if let Some((place, lost)) = place.zip(row.forgetting) {
                    places.entry(place * PLACES / order.len()).or_default().push(lost);
                }
            }
            let width = self.concepts as f64 / PLACES as f64;
            let point =
                |(place, lost): (usize, Vec<f64>)| point((place as f64 + 0.5) * width + 0.5, &lost);
            Series {
                name: variant.name.clone(),
                points: places.into_iter().filter_map(point).collect(),
            }
        });
        let title = format!(
            "{}: how much worse concepts are after all {} than just learnt, over their place in the order",
            metric.name, self.concepts
        );
        let file = format!("{}-lost-of-{}", metric.name, self.concepts);
        line_plot(&file, title, "place in the order", &series.collect::<Vec<_>>())
    }

    /// The score at the end over the seconds that a concept took, with its share of a fusion.
    fn over_seconds(&self, metric: &MetricInfo) -> Option<Plot> {
        let series = self.names().map(|name| {
            let ends: Vec<f64> = self.rows(metric, name).filter_map(|(_, row)| row.end).collect();
            let points = point(self.seconds(name), &ends).into_iter().collect();
            Series { name: name.into(), points }
        });
        let title =
            format!("{} with all {} concepts over seconds per concept", metric.name, self.concepts);
        let file = format!("{}-over-seconds-{}", metric.name, self.concepts);
        line_plot(&file, title, "seconds per concept, fusion included", &series.collect::<Vec<_>>())
    }

    /// The mean seconds of a concept.
    fn seconds(&self, name: &str) -> f64 {
        let first = &self.seeds[0].comparison;
        let fusion = first.fusion.iter().position(|fused| fused.name == name);
        let variant = fusion.map_or(name, |fusion| first.fusion[fusion].of.as_str());
        let variant = first.variant.iter().position(|v| v.name == variant).unwrap_or(0);
        let of_seed = |seed: &SeedResult| {
            let training: f64 = seed.learnt[variant].seconds.iter().sum();
            training + fusion.map_or(0.0, |fusion| seed.fused[fusion].seconds)
        };
        let all: f64 = self.seeds.iter().map(of_seed).sum();
        all / (self.seeds.len() * self.concepts) as f64
    }
}

/// The mean of some values with its interval; `None` of none.
fn point(x: f64, values: &[f64]) -> Option<Point> {
    let Distribution { mean: y, interval, .. } = Distribution::of(values, &Default::default())?;
    Some(Point { x, y, interval })
}
