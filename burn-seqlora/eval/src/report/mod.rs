//! A run as one HTML page for people, and its numbers as JSON for programs.
//!
//! Both go through the run's metrics and methods, and name none of them. The page is self-contained:
//! images and charts are inside it, it has no scripts, and it follows light and dark mode. Charts are
//! SVG made here, because the colours of a plotting library's charts would be fixed.

pub(crate) mod charts;
mod content;
mod gallery;
pub(crate) mod html;
mod page;
mod summary;
pub(crate) mod svg;
mod table;

pub use content::{ConceptImages, PairImages, RecordedRun, Report};
pub use summary::{
    ConceptSummary, LearntConcept, MethodScores, MethodSummary, PairScores, Summary,
};

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::summary::tests::summary;
    use super::*;
    use crate::Stages;

    /// A page with every part, and with names that want to be markup.
    fn report() -> Report {
        let image = |red| vec![RgbImage::from_pixel(4, 4, image::Rgb([red, 0, 0]))];
        let concept = ConceptImages {
            references: image(1),
            base: image(2),
            described: image(6),
            generated: vec![Stages { learnt: image(3), end: image(4) }; 3],
        };
        Report {
            title: "Three & more".into(),
            lead: "A <b>bold</b> run.".into(),
            limits: "Smaller than the <b>paper</b>'s.".into(),
            command: "seqlora demo --out 'a b'".into(),
            concepts: vec![concept; 3],
            pairs: vec![PairImages { title: "<a> and <b>".into(), generated: vec![image(5); 3] }],
            losses: vec![vec![vec![0.5, 0.25]; 3]; 3],
            summary: summary(),
            recorded: None,
        }
    }

    #[test]
    fn the_page_has_all_parts_and_needs_nothing_else() {
        let html = report().to_html();
        // At the top a reference of each of three concepts and 2 images by each of three methods; per concept
        // 3 and for each method 2; a pair by each method.
        assert_eq!(html.matches("<img ").count(), 3 * (1 + 3 * 2) + 3 * (3 + 3 * 2) + 3);
        assert_eq!(html.matches("<svg ").count(), 1 + 3 + 3);
        for outside in ["http:", "https:", "<script", "url(", "@import", "src=\"/"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert_eq!(html.matches("<div").count(), html.matches("</div>").count());
        assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
    }

    #[test]
    fn the_table_has_every_metric_and_the_methods_in_their_order() {
        let html = report().to_html();
        let table = html.split("<table>").nth(1).unwrap().split("</table>").next().unwrap();
        assert!(table.contains("0.800 ± 0.058") && table.contains("0.150 ± 0.050"), "{table}");
        assert!(table.contains("1.600 ± 0.115") && table.contains("-0.300 ± 0.100"), "{table}");
        let at = |text: &str| table.find(text).unwrap_or_else(|| panic!("no {text} in {table}"));
        assert!(at("likeness") < at("distance"));
        assert!(at("The Z") < at("The Y") && at("The Y") < at("The X"));
    }

    #[test]
    fn a_run_that_was_made_before_is_labelled_as_such() {
        let recorded =
            RecordedRun { source: "seqlora demo --concepts 3".into(), summary: summary() };
        let html = Report { recorded: Some(recorded), ..report() }.to_html();
        assert!(
            html.contains("<h2>Forgetting over 3 concepts, from an earlier run</h2>"),
            "{html}"
        );
        assert!(html.contains("Not from this run: seqlora demo --concepts 3"), "{html}");
        assert_eq!(html.matches("<table>").count(), 2);
        assert!(!report().to_html().contains("earlier run"));
    }

    #[test]
    fn names_are_no_markup() {
        let html = report().to_html();
        assert!(html.contains("A &lt;b&gt;bold&lt;/b&gt; run.") && !html.contains("<b>bold"));
        assert!(html.contains("Three &amp; more") && html.contains("&lt;a&gt; and &lt;b&gt;"));
    }

    #[test]
    fn equal_runs_give_equal_pages() {
        assert_eq!(report().to_html(), report().to_html());
    }
}
