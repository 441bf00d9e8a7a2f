//! `table.md`: the tables for people.

use super::summary::{EvaluationSummary, MeasureRow};
use crate::{Direction, MetricInfo};

/// The tables: scores with all concepts, forgetting, and every other measure that was taken.
pub fn markdown(summary: &EvaluationSummary) -> String {
    let mut text = String::from("# Evaluation\n\n");
    text += &format!(
        "{} concepts, {} images per prompt, {}. Numbers are means ± standard errors.\n\n",
        summary.run.concepts.len(),
        summary.run.seeds,
        cell(&summary.run.sampling),
    );
    for deviation in &summary.run.deviations {
        text += &format!("- Not as in `{}`: {}\n", summary.run.profile, cell(deviation));
    }
    for missing in &summary.skipped {
        text += &format!("- `{}` is skipped: {}\n", cell(&missing.metric), cell(&missing.reason));
    }
    for missing in &summary.failed {
        text +=
            &format!("- `{}` is incomplete: {}\n", cell(&missing.metric), cell(&missing.reason));
    }
    for (measure, heading) in headings(summary) {
        text += &format!("\n## {heading}\n\n{}", table(summary, &measure));
    }
    text + &comparisons(summary)
}

/// The measures of a summary in their order, with headings.
pub(super) fn headings(summary: &EvaluationSummary) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for row in summary.rows.iter().filter(|row| row.method.is_some()) {
        if !found.iter().any(|(measure, _)| *measure == row.measure) {
            found.push((row.measure.clone(), heading(&row.measure)));
        }
    }
    let place = |measure: &str| ["end", "forgetting", "learnt"].iter().position(|m| *m == measure);
    found.sort_by_key(|(measure, _)| place(measure).unwrap_or(usize::MAX));
    found
}

/// What a measure is, as a heading.
pub(super) fn heading(measure: &str) -> String {
    let known = [
        ("end", "Single concepts, with all concepts in the model"),
        ("learnt", "Single concepts, right after each was learnt"),
        (
            "forgetting",
            "Forgetting: how much worse a concept is with all concepts, the last one left out",
        ),
        ("gain", "Gain: 0 is the base model asked for the class, 1 the references themselves"),
        (
            "class_pull",
            "Class drift: how much more images of the class alone look like the concept",
        ),
        (
            "confused",
            "Interference: share of images that are closer to another concept of the class",
        ),
        (
            "margin",
            "Interference: how much closer an image is to its own concept than to the next one",
        ),
        (
            "drift",
            "Drift: distance from the base model's images of prompts about nothing learnt; over prompts",
        ),
        ("unrelated", "Fit to prompts about nothing learnt; over prompts"),
        ("unrelated_loss", "How much worse that fit is than the base model's; over prompts"),
        ("pair", "Two concepts by the prompt alone, whole image, mean of both; over pairs"),
        ("pair_worse", "Two concepts by the prompt alone, whole image, worse of both; over pairs"),
        ("pair_boxes", "Two concepts with boxes, whole image, mean of both; over pairs"),
        ("pair_boxes_worse", "Two concepts with boxes, whole image, worse of both; over pairs"),
        ("pair_cropped", "Two concepts with boxes, each in its box, mean of both; over pairs"),
        (
            "pair_cropped_worse",
            "Two concepts with boxes, each in its box, worse of both; over pairs",
        ),
    ];
    let known = known.iter().find(|(name, _)| *name == measure).map(|(_, text)| text.to_string());
    let shift = measure.strip_prefix("shift_");
    let shift = shift.map(|shift| format!("Loss if the references are shifted: {shift}"));
    let stage = measure.strip_prefix("at_");
    let stage = stage.map(|count| format!("Single concepts, with the first {count}"));
    known.or(shift).or(stage).unwrap_or_else(|| measure.to_string())
}

/// Whether scores of the base model and the references belong beside a measure.
pub(super) fn has_bounds(measure: &str) -> bool {
    ["end", "learnt"].contains(&measure) || measure.starts_with("at_")
}

/// The metrics that have a number for a measure.
pub(super) fn columns<'a>(summary: &'a EvaluationSummary, measure: &str) -> Vec<&'a MetricInfo> {
    let has = |metric: &&MetricInfo| {
        summary.rows.iter().any(|row| row.metric == metric.name && row.measure == measure)
    };
    summary.metrics.iter().filter(has).collect()
}

/// Rows of a table: a name, and the row of the summary for each column.
pub(super) fn lines<'a>(
    summary: &'a EvaluationSummary,
    measure: &str,
) -> Vec<(String, Vec<Option<&'a MeasureRow>>)> {
    let columns = columns(summary, measure);
    let of = |name: &str, method: Option<&str>, measure: &str| {
        let row = |metric: &&MetricInfo| summary.row(&metric.name, method, measure);
        (name.to_string(), columns.iter().map(row).collect::<Vec<_>>())
    };
    let floor = has_bounds(measure).then(|| of("base model, class only", None, "floor"));
    let ceiling = has_bounds(measure).then(|| of("references", None, "ceiling"));
    let methods = summary.run.methods.iter().map(|m| of(&m.name, Some(&m.name), measure));
    let lines = floor.into_iter().chain(methods).chain(ceiling);
    lines.filter(|(_, rows)| rows.iter().any(Option::is_some)).collect()
}

/// `0.512 ± 0.021`, with an asterisk if images are missing.
pub(super) fn value(row: Option<&MeasureRow>) -> Option<(String, Option<String>, bool)> {
    let row = row?;
    let statistics = row.statistics?;
    let sem = statistics.sem.map(rounded);
    Some((rounded(statistics.mean), sem, row.missing > 0))
}

/// Three places; what rounds to zero has no sign.
fn rounded(value: f64) -> String {
    let text = format!("{value:.3}");
    if text == "-0.000" { "0.000".into() } else { text }
}

pub(super) fn arrow(better: Direction) -> &'static str {
    match better {
        Direction::Higher => "↑",
        Direction::Lower => "↓",
    }
}

fn table(summary: &EvaluationSummary, measure: &str) -> String {
    let head = columns(summary, measure).into_iter().map(|metric| {
        let arrow = if has_bounds(measure) { arrow(metric.better) } else { "" };
        format!(" {} {arrow} |", cell(&metric.name))
    });
    let head: String = head.collect();
    let rule = " ---: |".repeat(columns(summary, measure).len());
    let mut text = format!("| |{head}\n| :--- |{rule}\n");
    for (name, rows) in lines(summary, measure) {
        let cells = rows.into_iter().map(|row| match value(row) {
            Some((mean, sem, incomplete)) => {
                let sem = sem.map(|sem| format!(" ± {sem}")).unwrap_or_default();
                format!(" {mean}{sem}{} |", if incomplete { " \\*" } else { "" })
            }
            None => " – |".into(),
        });
        text += &format!("| {} |{}\n", cell(&name), cells.collect::<String>());
    }
    if lines(summary, measure).iter().flat_map(|(_, rows)| rows).flatten().any(|r| r.missing > 0) {
        text += "\n\\* incomplete: some images have no score.\n";
    }
    text
}

fn comparisons(summary: &EvaluationSummary) -> String {
    if summary.comparisons.is_empty() {
        return String::new();
    }
    let mut text = "\n## Methods against each other\n\nDifferences on the same concepts with their \
                    bootstrap intervals; p of a sign-flip test, adjusted over metrics (Holm).\n\n\
                    | measure | metric | difference | interval | p |\n| :--- | :--- | ---: | ---: | ---: |\n"
        .to_string();
    for comparison in &summary.comparisons {
        let [first, second] = &comparison.methods;
        let difference = comparison.paired.difference;
        let interval = difference
            .interval
            .map_or_else(|| "–".to_string(), |[low, high]| format!("{low:.3} to {high:.3}"));
        text += &format!(
            "| {}: {} − {} | {} | {:.3} | {interval} | {:.3} |\n",
            comparison.measure,
            cell(first),
            cell(second),
            cell(&comparison.metric),
            difference.mean,
            comparison.p_holm,
        );
    }
    text
}

/// Text in which nothing is markup.
fn cell(text: &str) -> String {
    let escaped = |c: char| match c {
        '|' | '<' | '>' | '*' | '_' | '`' | '[' | ']' | '\\' => format!("\\{c}"),
        '\n' | '\r' => " ".into(),
        other => other.to_string(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::super::summarise::tests::summary;
    use super::*;

    #[test]
    fn tables_have_all_methods_between_their_bounds() {
        let text = markdown(&summary());
        let table = text.split("## ").nth(1).unwrap();
        let lines: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(lines[0], "| | likeness ↑ |");
        assert_eq!(lines[2], "| base model, class only | 0.200 ± 0.000 |");
        assert_eq!(lines[3], "| a | 0.533 ± 0.033 |");
        assert!(lines[4].starts_with("| b\\< | 0.4"), "{}", lines[4]);
        assert_eq!(lines[5], "| references | 0.800 ± 0.000 |");
        assert!(text.contains("`dino` is skipped: weights missing: x"), "{text}");
        assert!(text.contains("`mock` is incomplete: it ended"), "{text}");
        assert!(
            text.contains("0.100 ± 0.000 \\* |") && text.contains("incomplete: some"),
            "{text}"
        );
        let forgetting = text.find("## Forgetting").unwrap();
        assert!(forgetting < text.find("## Interference").unwrap());
        assert!(text.contains("| end: a − b\\< | likeness | 0.133 |"), "{text}");
    }
}
