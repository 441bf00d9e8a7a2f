//! Contact sheets: which images the page shows, in rows and columns.

use std::collections::BTreeMap;

use super::summary::EvaluationSummary;
use crate::protocol::{ImageGroup, MethodPlan, Protocol, Purpose, Stage, fill};
use crate::store::RunFolder;

/// A sheet: columns of images, a row for each prompt or concept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    /// What it is about.
    pub title: String,
    /// What each column shows.
    pub columns: Vec<String>,
    /// A label, and the file of each image, as far as there is one.
    pub rows: Vec<(String, Vec<Option<String>>)>,
}

/// Where the images of sheets come from.
pub struct SheetSource<'a> {
    pub protocol: &'a Protocol,
    pub methods: &'a [MethodPlan],
    pub groups: &'a [ImageGroup],
    /// Files of some references of each concept, relative to the page.
    pub references: &'a [Vec<String>],
    by_purpose: BTreeMap<(Option<usize>, Stage, Purpose), usize>,
}

impl<'a> SheetSource<'a> {
    pub fn new(
        protocol: &'a Protocol,
        methods: &'a [MethodPlan],
        groups: &'a [ImageGroup],
        references: &'a [Vec<String>],
    ) -> Self {
        let place = |(number, g): (usize, &ImageGroup)| ((g.method, g.stage, g.purpose), number);
        let by_purpose = groups.iter().enumerate().map(place).collect();
        Self { protocol, methods, groups, references, by_purpose }
    }

    /// Every concept with every method: one prompt, one seed.
    pub fn overview(&self) -> Sheet {
        let methods = self.methods.iter().map(|method| method.name.clone());
        let columns = ["reference", "base model, class only"].map(String::from);
        let columns = columns.into_iter().chain(methods).collect();
        let row = |concept: usize| {
            let reference = self.references.get(concept).and_then(|files| files.first().cloned());
            let base = self.image(None, Stage::Base, Purpose::Class(concept), 0);
            let methods = (0..self.methods.len())
                .map(|method| self.image(Some(method), Stage::All, Purpose::Concept(concept), 0));
            let cells = [reference, base].into_iter().chain(methods).collect();
            (format!("<{}>", self.protocol.concepts[concept].id), cells)
        };
        let rows = (0..self.protocol.concepts.len()).map(row).collect();
        Sheet { title: "Every concept by every method".into(), columns, rows }
    }

    /// One concept: a row for each prompt, just learnt and with all concepts by each method.
    pub fn of_concept(&self, concept: usize) -> Sheet {
        let mut columns = vec!["base model, class only".to_string()];
        let mut places = vec![(None, Stage::Base, Purpose::Class(concept))];
        for (number, method) in self.methods.iter().enumerate() {
            let learnt = (!method.models.is_empty()).then(|| method.learnt(concept));
            let learnt = learnt.map(|stage| (stage, "just learnt"));
            for (stage, when) in learnt.into_iter().chain([(Stage::All, "all concepts")]) {
                let place = (Some(number), stage, Purpose::Concept(concept));
                if self.by_purpose.contains_key(&place) {
                    columns.push(format!("{}, {when}", method.name));
                    places.push(place);
                }
            }
        }
        let row = |(number, prompt): (usize, &String)| {
            let image = |(method, stage, purpose): &(Option<usize>, Stage, Purpose)| {
                self.image(*method, *stage, *purpose, number)
            };
            let name = format!("<{}>", self.protocol.concepts[concept].id);
            (fill(prompt, &[&name]), places.iter().map(image).collect())
        };
        let concept = &self.protocol.concepts[concept];
        Sheet {
            title: format!("<{}>, {}", concept.id, concept.class_word),
            columns,
            rows: concept.prompts.iter().enumerate().map(row).collect(),
        }
    }

    /// One pair: a row for each prompt, without and with boxes by each method.
    pub fn of_pair(&self, pair: usize) -> Sheet {
        let views = [(false, "by the prompt"), (true, "with boxes")];
        let methods = self.methods.iter().enumerate().filter(|(_, m)| !m.models.is_empty());
        let places: Vec<(String, usize, bool)> = methods
            .flat_map(|(number, method)| {
                views.map(|(boxes, view)| (format!("{}, {view}", method.name), number, boxes))
            })
            .filter(|(_, method, boxes)| {
                let place = (Some(*method), Stage::All, Purpose::Pair(pair, *boxes));
                self.by_purpose.contains_key(&place)
            })
            .collect();
        let [first, second] = self.protocol.pairs[pair]
            .concepts
            .map(|c| format!("<{}>", self.protocol.concepts[c].id));
        let row = |(number, prompt): (usize, &String)| {
            let image = |(_, method, boxes): &(String, usize, bool)| {
                self.image(Some(*method), Stage::All, Purpose::Pair(pair, *boxes), number)
            };
            (fill(prompt, &[&first, &second]), places.iter().map(image).collect())
        };
        let prompts = self.protocol.pairs[pair].prompts.iter().enumerate();
        Sheet {
            title: format!("{first} and {second}"),
            rows: prompts.map(row).collect(),
            columns: places.iter().map(|(name, ..)| name.clone()).collect(),
        }
    }

    /// The first image of a prompt. Foreign images are found by the prompt that they are scored with.
    fn image(
        &self,
        method: Option<usize>,
        stage: Stage,
        purpose: Purpose,
        prompt: usize,
    ) -> Option<String> {
        let group = &self.groups[*self.by_purpose.get(&(method, stage, purpose))?];
        let foreign = method.is_some_and(|method| self.methods[method].models.is_empty());
        let image = match (foreign, purpose) {
            (true, Purpose::Concept(concept)) => {
                let concept = &self.protocol.concepts[concept];
                let text = fill(concept.prompts.get(prompt)?, &[&concept.class_word]);
                let same = group.images.iter().find(|image| image.text == text);
                same.or(group.images.get(prompt))
            }
            _ => group.images.get(prompt * self.protocol.seeds.len()),
        };
        Some(RunFolder::image_name(&image?.key))
    }
}

/// The concepts of a summary, those first that lost most by any method and the first metric that says so.
pub fn worst_first(summary: &EvaluationSummary) -> Vec<usize> {
    let lost = |concept: usize| {
        let id = &summary.run.concepts[concept].id;
        let rows = summary.concepts.iter().filter(|row| row.concept == *id);
        let first = summary.metrics.first().map(|metric| metric.name.as_str());
        let rows = rows.filter(|row| Some(row.metric.as_str()) == first);
        rows.filter_map(|row| row.forgetting).fold(f64::NEG_INFINITY, f64::max)
    };
    let mut order: Vec<usize> = (0..summary.run.concepts.len()).collect();
    order.sort_by(|a, b| lost(*b).total_cmp(&lost(*a)));
    order
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::summarise::tests::summary;
    use super::*;
    use crate::protocol::images;
    use crate::protocol::tests_support::{method, protocol};

    pub fn references() -> Vec<Vec<String>> {
        (0..3).map(|concept| vec![format!("references/{concept}-0.png")]).collect()
    }

    #[test]
    fn sheets_have_an_image_for_each_prompt_and_column() {
        let (protocol, methods) = (protocol(), [method("a"), method("b<")]);
        let groups = images(&protocol, &methods, Some("base"), [64, 64]);
        let references = references();
        let source = SheetSource::new(&protocol, &methods, &groups, &references);
        let overview = source.overview();
        assert_eq!((overview.columns.len(), overview.rows.len()), (4, 3));
        let sheet = source.of_concept(2);
        assert_eq!(sheet.title, "<bob>, dog");
        let columns = ["base model, class only", "a, just learnt", "a, all concepts"];
        assert_eq!(sheet.columns[..3], columns);
        assert_eq!(sheet.rows[1].0, "a <bob> on grass");
        let cells: Vec<&String> = sheet.rows[1].1.iter().flatten().collect();
        assert_eq!(cells.len(), 5);
        assert!(cells[0].starts_with("images/") && cells[0].ends_with(".png"));
        let pair = source.of_pair(0);
        assert_eq!(
            pair.columns,
            ["a, by the prompt", "a, with boxes", "b<, by the prompt", "b<, with boxes"]
        );
        // The one that was learnt last has lost nothing.
        assert_eq!(worst_first(&summary()).last(), Some(&1));
    }
}
