//! A metric that no crate knows goes through evaluation, summary and page as the built-in ones do.

use burn_seqlora::eval::report::{
    ConceptImages, ConceptSummary, LearntConcept, MethodSummary, Report, Summary,
};
use burn_seqlora::eval::{
    Context, Direction, Evaluator, Metric, MetricError, Needs, References, Stages,
};
use burn_seqlora::image::{Rgb, RgbImage};

/// The mean distance of an image's red channel from that of the colour which the prompt names.
#[derive(Debug)]
struct RedError;

impl Metric for RedError {
    fn name(&self) -> &str {
        "red error"
    }

    fn unit(&self) -> &str {
        "bytes"
    }

    fn better(&self) -> Direction {
        Direction::Lower
    }

    fn description(&self) -> String {
        "distance of the red channel from what the prompt names".into()
    }

    fn preprocessing(&self) -> String {
        "none".into()
    }

    fn needs(&self) -> Needs {
        Needs { prompts: true, ..Needs::default() }
    }

    fn score(&self, images: &[RgbImage], context: &Context<'_>) -> Result<Vec<f64>, MetricError> {
        let score = |(image, prompt): (&RgbImage, &String)| {
            let expected = if prompt.contains("red") { 255.0 } else { 0.0 };
            let errors = image.pixels().map(|Rgb([red, ..])| (f64::from(*red) - expected).abs());
            errors.sum::<f64>() / f64::from(image.width() * image.height())
        };
        Ok(images.iter().zip(context.prompts).map(score).collect())
    }
}

fn image(red: u8) -> RgbImage {
    RgbImage::from_pixel(2, 1, Rgb([red, 0, 0]))
}

/// A red and a black concept, of which the first is partly forgotten.
fn evaluated() -> Report {
    let metrics: Vec<Box<dyn Metric>> = vec![Box::new(RedError)];
    let references = [vec![image(250), image(240)], vec![image(0), image(1)]];
    let prompts = ["a red ball", "a black ball"].map(|prompt| vec![prompt.to_string(); 2]);
    let concepts = references.iter().zip(&prompts);
    let concepts = concepts.map(|(images, captions)| References { images, captions }).collect();
    let evaluator = Evaluator::new(&metrics, concepts);
    let stages = [[255, 155], [5, 5]]
        .map(|[learnt, end]| Stages { learnt: vec![image(learnt); 2], end: vec![image(end); 2] });
    let learnt = |number: usize| LearntConcept {
        id: ["red", "black"][number].into(),
        scores: evaluator.stages(number, &stages[number], &prompts[number]).unwrap(),
        initial_loss: 1.0,
        final_loss: 0.5,
        seconds: 1.0,
    };
    let concept = |number: usize| ConceptSummary {
        id: ["red", "black"][number].into(),
        class_word: "ball".into(),
        references: 2,
        scores: evaluator.bounds(number, &[image(100)], &prompts[number][..1]).unwrap(),
    };
    let infos = evaluator.metrics();
    let names = ["by-hand", "By hand"];
    let method =
        MethodSummary::of(names, &infos, vec![learnt(0), learnt(1)], vec![vec![0.0; 2]; 2]);
    let images = |number: usize| ConceptImages {
        references: references[number].clone(),
        base: vec![image(100)],
        described: Vec::new(),
        generated: vec![stages[number].clone()],
    };
    let summary = Summary {
        version: Summary::VERSION,
        made_by: "test".into(),
        base: "base".into(),
        device: "cpu".into(),
        seed: 0,
        steps: 1,
        sampling: "by hand".into(),
        images: 2,
        seconds: 2.0,
        metrics: infos,
        concepts: vec![concept(0), concept(1)],
        methods: vec![method],
    };
    Report {
        title: "Colours".into(),
        lead: "Two colours.".into(),
        limits: String::new(),
        command: "test".into(),
        summary,
        concepts: vec![images(0), images(1)],
        pairs: Vec::new(),
        losses: vec![vec![vec![1.0, 0.5]; 2]],
        recorded: None,
    }
}

#[test]
fn its_scores_are_in_the_summary_and_on_the_page() {
    let report = evaluated();
    let concept = &report.summary.concepts[0].scores["red error"];
    assert_eq!((concept.base, concept.references), (155.0, Some(10.0)));
    let scores = &report.summary.methods[0].scores["red error"];
    // Just learnt 0 and 5, at the end 100 and 5: lower is better, so the first concept lost 100.
    assert_eq!((scores.learnt.mean, scores.end.mean, scores.forgetting.mean), (2.5, 52.5, 100.0));

    let json = serde_json::to_value(&report.summary).unwrap();
    assert_eq!(json["metrics"][0]["better"], "lower");
    assert_eq!(json["methods"][0]["scores"]["red error"]["forgetting"]["mean"], 100.0);

    let html = report.to_html();
    assert!(html.contains("red error (bytes)") && html.contains("(lower is better)"), "{html}");
    assert!(html.contains("52.500 ± 47.500") && html.contains("By hand"), "{html}");
    assert!(html.contains("red, By hand, at the end: 100.000"), "{html}");
}
