//! `table.tex`: the tables as the paper has them, for `booktabs`.

use super::markdown::{arrow, columns, has_bounds, heading, headings, lines, value};
use super::summary::{EvaluationSummary, MeasureRow};
use crate::Direction;

/// A `tabular` for each of the main measures; the best method of each column is bold.
pub fn latex(summary: &EvaluationSummary) -> String {
    let note = "% Means ± standard errors over concepts. Needs \\usepackage{booktabs}.\n";
    let main = headings(summary).into_iter().filter(|(m, _)| has_bounds(m) || m == "forgetting");
    let tables = main.map(|(measure, _)| table(summary, &measure));
    note.to_string() + &tables.collect::<Vec<_>>().join("\n")
}

fn table(summary: &EvaluationSummary, measure: &str) -> String {
    let columns = columns(summary, measure);
    // Less forgetting is better by every metric.
    let lower =
        |column: usize| measure == "forgetting" || columns[column].better == Direction::Lower;
    let lines = lines(summary, measure);
    let is_method = |name: &str| summary.run.methods.iter().any(|method| method.name == name);
    let best = |column: usize| {
        let of = |row: &Option<&MeasureRow>| Some(row.as_ref()?.statistics?.mean);
        let means = lines.iter().filter(|(name, _)| is_method(name));
        let means = means.filter_map(|(_, rows)| of(&rows[column]));
        means.reduce(|a, b| if (b < a) == lower(column) { b } else { a })
    };
    let head: String = columns
        .iter()
        .map(|metric| {
            let arrow = if has_bounds(measure) { arrow(metric.better) } else { "↓" };
            let arrow = if arrow == "↑" { "$\\uparrow$" } else { "$\\downarrow$" };
            format!(" & {} {arrow}", escaped(&metric.name))
        })
        .collect();
    let mut text = format!(
        "% {}\n\\begin{{tabular}}{{l{}}}\n\\toprule\nMethod{head} \\\\\n\\midrule\n",
        heading(measure).replace('\n', " "),
        "r".repeat(columns.len())
    );
    for (name, rows) in &lines {
        let cell = |(column, row): (usize, &Option<&MeasureRow>)| {
            let Some((mean, sem, incomplete)) = value(*row) else { return " & --".to_string() };
            let exact = row.and_then(|row| row.statistics).map(|s| s.mean);
            let is_best = is_method(name) && exact.is_some() && exact == best(column);
            let mean = if is_best { format!("\\textbf{{{mean}}}") } else { mean };
            let sem = sem.map(|sem| format!(" $\\pm$ {sem}")).unwrap_or_default();
            format!(" & {mean}{sem}{}", if incomplete { "$^*$" } else { "" })
        };
        let cells: String = rows.iter().enumerate().map(cell).collect();
        text += &format!("{}{cells} \\\\\n", escaped(name));
    }
    text + "\\bottomrule\n\\end{tabular}\n"
}

/// Text in which nothing is a command.
fn escaped(text: &str) -> String {
    let escaped = |c: char| match c {
        '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{c}"),
        '\\' => "\\textbackslash{}".into(),
        '~' => "\\textasciitilde{}".into(),
        '^' => "\\textasciicircum{}".into(),
        '<' => "$<$".into(),
        '>' => "$>$".into(),
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
    fn the_best_method_is_bold_and_names_are_text() {
        let text = latex(&summary());
        assert!(text.contains("Method & likeness $\\uparrow$ \\\\"), "{text}");
        assert!(text.contains("a & \\textbf{0.533} $\\pm$ 0.033 \\\\"), "{text}");
        assert!(text.contains("b$<$ & 0.4"), "{text}");
        assert!(text.contains("references & 0.800"), "{text}");
        let forgetting = text.split("% Forgetting").nth(1).unwrap();
        let forgetting = forgetting.split("\\end{tabular}").next().unwrap();
        assert!(forgetting.contains("a & \\textbf{0.100}") && !forgetting.contains("base model"));
        assert_eq!(
            text.matches("\\begin{tabular}").count(),
            text.matches("\\end{tabular}").count()
        );
        assert_eq!(escaped("a_b\\{"), "a\\_b\\textbackslash{}\\{");
    }
}
