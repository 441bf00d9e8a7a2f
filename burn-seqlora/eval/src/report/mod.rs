//! A run as one HTML page for people, and its numbers as JSON for programs.
//!
//! The page needs nothing but itself: pictures and charts are within it, there are no scripts, and it
//! follows light and dark. Charts are own small SVG rather than a plotting library's, whose colours
//! would be fixed.

mod charts;
mod gallery;
mod html;
mod page;
mod summary;
mod svg;

use std::collections::BTreeMap;

use image::RgbImage;

pub use summary::{ConceptSummary, LearntConcept, MethodSummary, Summary};

/// All that the page shows, as plain data.
#[derive(Debug, Clone)]
pub struct Report {
    /// What the page is called.
    pub title: String,
    /// What was done, in a sentence or two.
    pub lead: String,
    /// The command that made it.
    pub command: String,
    /// The numbers.
    pub summary: Summary,
    /// The pictures of the summary's concepts, in their order.
    pub concepts: Vec<ConceptPictures>,
    /// Pictures of two concepts at once.
    pub pairs: Vec<PairPictures>,
    /// The loss of each step of each concept.
    pub losses: BTreeMap<String, Vec<Vec<f64>>>,
}

/// The pictures of one concept.
#[derive(Debug, Clone, Default)]
pub struct ConceptPictures {
    /// What it was learnt from.
    pub references: Vec<RgbImage>,
    /// What the base model draws for its class.
    pub base: Vec<RgbImage>,
    /// What is generated, by method.
    pub generated: BTreeMap<String, Stages>,
}

/// The same prompts and noise at two times.
#[derive(Debug, Clone, Default)]
pub struct Stages {
    /// Right after the concept was learnt.
    pub learnt: Vec<RgbImage>,
    /// With all concepts.
    pub end: Vec<RgbImage>,
}

/// Pictures of two concepts at once.
#[derive(Debug, Clone, Default)]
pub struct PairPictures {
    /// The prompt.
    pub prompt: String,
    /// What is generated, by method.
    pub generated: BTreeMap<String, Vec<RgbImage>>,
}

impl Report {
    /// The page.
    ///
    /// # Panics
    /// If there are not as many pictures and losses as concepts.
    pub fn to_html(&self) -> String {
        page::document(self).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::summary::tests::summary;
    use super::*;

    /// A page with every part, and with names that want to be markup.
    fn report() -> Report {
        let picture = |red| vec![RgbImage::from_pixel(4, 4, image::Rgb([red, 0, 0]))];
        let summary = summary();
        let methods = || summary.methods.keys().cloned();
        let stages = Stages { learnt: picture(3), end: picture(4) };
        let concept = ConceptPictures {
            references: picture(1),
            base: picture(2),
            generated: methods().map(|m| (m, stages.clone())).collect(),
        };
        Report {
            title: "Three & more".into(),
            lead: "A <b>bold</b> run.".into(),
            command: "seqlora demo --out 'a b'".into(),
            concepts: vec![concept; 3],
            pairs: vec![PairPictures {
                prompt: "<a> and <b>".into(),
                generated: methods().map(|m| (m, picture(5))).collect(),
            }],
            losses: methods().map(|m| (m, vec![vec![0.5, 0.25]; 3])).collect(),
            summary,
        }
    }

    #[test]
    fn the_page_has_all_parts_and_needs_nothing_else() {
        let html = report().to_html();
        // Three hero pictures; per concept 2 and for each of three methods 2; a pair by each method.
        assert_eq!(html.matches("<img ").count(), 3 + 3 * (2 + 3 * 2) + 3);
        assert_eq!(html.matches("<svg ").count(), 1 + 3 + 3);
        assert!(html.contains("0.800 ± 0.058") && html.contains("0.150 ± 0.050"), "{html}");
        for outside in ["http:", "https:", "<script", "url(", "@import", "src=\"/"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert_eq!(html.matches("<div").count(), html.matches("</div>").count());
        assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
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
