//! The third stage: numbers, tables, plots, and the page.

use std::io::Cursor;

use burn_seqlora::eval::protocol::MethodPlan;
use burn_seqlora::eval::results::{
    Best, ConceptInfo, EvaluationSummary, ImageCounts, MethodInfo, RunInfo, concepts_csv,
    forgetting_csv, images_csv, latex, markdown, page, pairs_csv, plots, summarise,
};
use burn_seqlora::eval::store::ImageState;
use burn_seqlora::scorers::preprocess::{Filter, resize};
use image::{ImageFormat, RgbImage};
use serde_json::json;

use super::score::Scored;
use super::session::Session;
use crate::failure::Failure;
use crate::terminal::table;

/// References of a concept that the page shows, and their longest side.
const SHOWN: usize = 2;
const SIDE: u32 = 384;

impl Session<'_> {
    /// Writes everything, and prints the main numbers.
    ///
    /// # Errors
    /// If a file cannot be written, or something that was asked for has no number: the report says what.
    pub fn report(&self, scored: Scored) -> Result<(), Failure> {
        let methods = &self.record.methods;
        let Scored { metrics, table, skipped, failed, .. } = scored;
        let missing = [skipped, failed];
        let summary = summarise(self.info()?, self.protocol(), methods, &metrics, &table, missing);
        let json = serde_json::to_value(&summary)?;
        let write = |name: &str, text: String| self.run.write_report(name, text.as_bytes());
        write("summary.json", format!("{json:#}\n"))?;
        write("per_concept.csv", concepts_csv(&summary))?;
        write("per_image.csv", images_csv(&summary, &metrics, &self.sets, &table))?;
        write("forgetting.csv", forgetting_csv(&summary, methods))?;
        write("pairs.csv", pairs_csv(&summary))?;
        write("table.md", markdown(&summary))?;
        write("table.tex", latex(&summary))?;
        for plot in plots(&summary) {
            write(&format!("plots/{}", plot.file), plot.to_svg())?;
        }
        let references = self.write_references()?;
        let (groups, size) = (&self.groups, self.record.size);
        let html = page(&summary, self.protocol(), methods, groups, size, &references);
        write("report.html", html)?;
        let file = self.run.path().join("report.html");
        self.terminal
            .result(&json, || format!("{}\n\nreport  {}", headline(&summary), file.display()))?;
        self.complete(&summary)
    }

    /// A part of the work has no report.
    pub fn report_shard(&self, scored: &Scored) -> Result<(), Failure> {
        let shard = self.shard();
        let (part, sets) = (shard.number + 1, scored.table.iter().count());
        let failed: Vec<_> = scored
            .failed
            .iter()
            .map(|f| json!({ "metric": f.metric, "reason": f.reason }))
            .collect();
        let result = json!({
            "version": 1,
            "shard": [part, shard.count],
            "sets_scored": sets,
            "sets_left": scored.left,
            "failed": failed,
        });
        self.terminal.result(&result, || {
            format!(
                "part {part} of {}: {sets} sets of scores are there, {} wait for images of other parts\n\
                 once all parts are there, the same command without --shard and with --merge FOLDER for \
                 each other part's --out writes the report",
                shard.count, scored.left
            )
        })?;
        match scored.failed.first() {
            None => Ok(()),
            Some(failed) => {
                Err(Failure::Damaged(format!("{} is incomplete: {}", failed.metric, failed.reason)))
            }
        }
    }

    fn complete(&self, summary: &EvaluationSummary) -> Result<(), Failure> {
        if !summary.is_incomplete() {
            return Ok(());
        }
        let failed =
            summary.failed.iter().map(|failed| format!("{}: {}", failed.metric, failed.reason));
        let images = summary.run.images.failed;
        let images = (images > 0).then(|| format!("{images} images could not be made"));
        let scores: usize = summary.rows.iter().map(|row| row.missing).sum();
        let scores = (scores > 0).then(|| format!("{scores} scores are missing"));
        let reasons: Vec<String> = failed.chain(images).chain(scores).collect();
        Err(Failure::Damaged(format!(
            "the evaluation is incomplete: {}; the report says what is missing, and the same command tries \
             what broke off again",
            reasons.join("; ")
        )))
    }

    fn info(&self) -> Result<RunInfo, Failure> {
        let protocol = self.protocol();
        let mut keys: Vec<&str> =
            self.groups.iter().flat_map(|g| &g.images).map(|image| image.key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut images = ImageCounts { planned: keys.len(), failed: 0 };
        for key in keys {
            images.failed += usize::from(self.run.state(key)? == ImageState::Failed);
        }
        let sampling = &protocol.sampling;
        let [width, height] = self.record.size;
        let negative = match sampling.negative.as_str() {
            "" => String::new(),
            negative => format!(", negative prompt {negative:?}"),
        };
        let concept = |concept: &burn_seqlora::eval::protocol::ConceptProtocol| ConceptInfo {
            id: concept.id.clone(),
            class_word: concept.class_word.clone(),
            references: concept.references.len(),
            prompts: concept.prompts.len(),
        };
        let method = |method: &MethodPlan| MethodInfo {
            name: method.name.clone(),
            concepts: method.concepts(),
            foreign: method.models.is_empty(),
        };
        let [name, fingerprint] = &self.record.base;
        Ok(RunInfo {
            made_by: format!("seqlora {}", env!("CARGO_PKG_VERSION")),
            base: format!("{name} ({fingerprint})"),
            profile: protocol.profile.name().into(),
            sampling: format!(
                "{}, {} steps, guidance {}{negative}, {width}x{height}",
                sampling.sampler, sampling.steps, sampling.guidance
            ),
            deviations: protocol.deviations(),
            seeds: protocol.seeds.len(),
            images,
            concepts: protocol.concepts.iter().map(concept).collect(),
            methods: self.record.methods.iter().map(method).collect(),
        })
    }

    /// Writes the references that the page shows; returns their files.
    fn write_references(&self) -> Result<Vec<Vec<String>>, Failure> {
        let mut all = Vec::new();
        for (concept, references) in self.data.references.iter().enumerate() {
            let mut files = Vec::new();
            for (number, image) in references.iter().take(SHOWN).enumerate() {
                let mut png = Cursor::new(Vec::new());
                shrunk(image).write_to(&mut png, ImageFormat::Png)?;
                let name = format!("references/{concept:03}-{number}.png");
                self.run.write_report(&name, &png.into_inner())?;
                files.push(name);
            }
            all.push(files);
        }
        Ok(all)
    }
}

/// An image of at most [`SIDE`] pixels a side.
fn shrunk(image: &RgbImage) -> RgbImage {
    let (width, height) = image.dimensions();
    let longest = width.max(height);
    if longest <= SIDE {
        return image.clone();
    }
    let side = |side: u32| ((u64::from(side) * u64::from(SIDE) / u64::from(longest)) as u32).max(1);
    resize(image, side(width), side(height), Filter::Bicubic)
}

/// The main numbers: each metric with all concepts, and its forgetting.
fn headline(summary: &EvaluationSummary) -> String {
    let measures = ["end", "forgetting"];
    let columns = summary.metrics.iter().flat_map(|m| measures.map(|measure| (&m.name, measure)));
    let columns: Vec<_> = columns.collect();
    let head = columns.iter().map(|(metric, measure)| match *measure {
        "end" => metric.to_string(),
        measure => measure.to_string(),
    });
    let row = |name: &str, method: Option<&str>, measure: Option<&str>| {
        let cell = |(metric, column): &(&String, &str)| {
            let measure = measure.filter(|_| *column == "end").or(method.map(|_| *column));
            let row = measure.and_then(|measure| summary.row(metric, method, measure));
            let statistics = row.and_then(|row| row.statistics);
            statistics.map_or_else(
                || "–".to_string(),
                |s| match s.sem {
                    Some(sem) => format!("{:.3} ± {sem:.3}", s.mean),
                    None => format!("{:.3}", s.mean),
                },
            )
        };
        [name.to_string()].into_iter().chain(columns.iter().map(cell)).collect::<Vec<_>>()
    };
    let mut rows = vec![["".to_string()].into_iter().chain(head).collect::<Vec<_>>()];
    rows.push(row("base model, class only", None, Some("floor")));
    rows.extend(
        summary.run.methods.iter().map(|method| row(&method.name, Some(&method.name), None)),
    );
    rows.push(row("references", None, Some("ceiling")));
    table(&rows) + &best(summary)
}

/// The best method by each metric, as a line of its own, if there are several.
fn best(summary: &EvaluationSummary) -> String {
    let by_metric = summary.best.iter().map(|best| {
        let Best { metric, methods: [first, second], overlap, .. } = best;
        let overlap = match overlap {
            Some(true) => " (their intervals overlap)",
            Some(false) => " (their intervals do not overlap)",
            None => "",
        };
        format!("{first} by {metric}, before {second}{overlap}")
    });
    match by_metric.collect::<Vec<_>>().join("; ") {
        none if none.is_empty() => none,
        all => format!("\n\nbest    {all}"),
    }
}
