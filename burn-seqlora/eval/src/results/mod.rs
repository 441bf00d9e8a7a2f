//! From scores to the numbers, tables, plots and the page of an evaluation.
//!
//! ```text
//! ScoreTable ─ summarise ─► EvaluationSummary ─► summary.json, CSV, Markdown, LaTeX, SVG, report.html
//! ```

mod best;
mod comparisons;
mod csv;
mod latex;
mod line_plot;
mod markdown;
mod measures;
mod page;
mod plot;
mod plots;
mod score_table;
mod sheets;
mod summarise;
mod summary;

pub use csv::{concepts_csv, forgetting_csv, images_csv, pairs_csv};
pub use latex::latex;
pub use line_plot::{Point, Series, line_plot};
pub use markdown::markdown;
pub use page::page;
pub use plot::Plot;
pub use plots::plots;
pub use score_table::ScoreTable;
pub use summarise::summarise;
pub use summary::{
    Best, Comparison, ConceptInfo, ConceptRow, Confusion, EvaluationSummary, ImageCounts,
    MeasureRow, MethodInfo, MissingMetric, PairRow, RunInfo,
};
