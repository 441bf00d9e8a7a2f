//! The values that one metric gives for one method: of each concept, pair or prompt.

use super::score_table::{ScoreTable, mean};
use crate::protocol::{MethodPlan, Protocol, ScoreKind, Shift};
use crate::store::Scored;
use crate::{Direction, MetricInfo};

/// A measure: its name, what its values are of, and the values.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub name: String,
    pub over: &'static str,
    pub values: Vec<f64>,
    pub missing: usize,
}

/// What one metric says of one method.
#[derive(Debug, Clone, Copy)]
pub struct Measures<'a> {
    pub protocol: &'a Protocol,
    pub table: &'a ScoreTable,
    pub metric: usize,
    pub info: &'a MetricInfo,
    pub method: usize,
    pub plan: &'a MethodPlan,
}

impl Measures<'_> {
    /// All measures for which there is a set of scores, in the order of reports.
    pub fn all(&self) -> Vec<Measured> {
        let concepts = 0..self.protocol.concepts.len();
        let of_concepts = |name: &str,
                           kind: Option<ScoreKind>,
                           value: &dyn Fn(usize) -> Option<f64>| {
            let missing =
                |c| kind.map_or(0, |k| self.table.missing(self.metric, k, Some(self.method), c));
            Measured {
                name: name.into(),
                over: "concepts",
                values: concepts.clone().filter_map(value).collect(),
                missing: concepts.clone().map(missing).sum(),
            }
        };
        let mut all = vec![
            of_concepts("learnt", Some(ScoreKind::Learnt), &|c| self.of(ScoreKind::Learnt, c)),
            of_concepts("end", Some(ScoreKind::End), &|c| self.of(ScoreKind::End, c)),
            of_concepts("forgetting", None, &|c| self.counted_forgetting(c)),
            of_concepts("gain", None, &|c| self.gain(c)),
            of_concepts("class_pull", Some(ScoreKind::Class), &|c| self.class_pull(c)),
            of_concepts("confused", None, &|c| self.confused(c)),
            of_concepts("margin", None, &|c| self.margin(c)),
        ];
        for stage in &self.protocol.stages {
            let kind = ScoreKind::At(*stage);
            all.push(of_concepts(&format!("at_{stage}"), Some(kind), &|c| self.of(kind, c)));
        }
        for shift in &self.protocol.shifts {
            let kind = ScoreKind::Shifted(*shift);
            all.push(of_concepts(&format!("shift_{shift}"), Some(kind), &|c| self.drop(*shift, c)));
        }
        all.extend(self.unrelated());
        for (name, boxes, cropped) in
            [("pair", false, false), ("pair_boxes", true, false), ("pair_cropped", true, true)]
        {
            all.extend(self.pairs(name, boxes, cropped));
        }
        all.retain(|measured| !measured.values.is_empty() || measured.missing > 0);
        all
    }

    /// The mean of a kind of images of a concept.
    pub fn of(&self, kind: ScoreKind, concept: usize) -> Option<f64> {
        self.table.mean(self.metric, kind, Some(self.method), concept)
    }

    pub fn floor(&self, concept: usize) -> Option<f64> {
        self.table.mean(self.metric, ScoreKind::Floor, None, concept)
    }

    pub fn ceiling(&self, concept: usize) -> Option<f64> {
        self.table.mean(self.metric, ScoreKind::Ceiling, None, concept)
    }

    /// How much worse a concept is with all concepts than right after it was learnt: the mean over images
    /// that have both scores.
    pub fn forgetting(&self, concept: usize) -> Option<f64> {
        let of = |kind| self.table.get(self.metric, kind, Some(self.method), concept);
        self.worsening(of(ScoreKind::Learnt)?, of(ScoreKind::End)?)
    }

    /// The same without the concept that was learnt last, which has nothing after it.
    pub fn counted_forgetting(&self, concept: usize) -> Option<f64> {
        let last = self.plan.places.get(concept).is_some_and(|p| p + 1 == self.plan.concepts());
        self.forgetting(concept).filter(|_| !last)
    }

    fn worsening(&self, before: &[Scored], after: &[Scored]) -> Option<f64> {
        let both = before.iter().zip(after).filter_map(|(before, after)| {
            let (before, after) = (before.as_ref().ok()?, after.as_ref().ok()?);
            Some(self.info.better.worsening(*before, *after))
        });
        mean(both)
    }

    /// Where a concept stands between the base model, 0, and its own references, 1.
    fn gain(&self, concept: usize) -> Option<f64> {
        let floor = self.floor(concept)?;
        let room = self.ceiling(concept)? - floor;
        // References that are no more alike than any image of the class say nothing.
        let gain = (self.of(ScoreKind::End, concept)? - floor) / room;
        (room.abs() > 1e-6).then_some(gain)
    }

    /// How much more images of the class are like the concept than the base model's of the same noise.
    fn class_pull(&self, concept: usize) -> Option<f64> {
        let base = self.table.get(self.metric, ScoreKind::Floor, None, concept)?;
        let now = self.table.get(self.metric, ScoreKind::Class, Some(self.method), concept)?;
        Some(-self.worsening(base, now)?)
    }

    fn drop(&self, shift: Shift, concept: usize) -> Option<f64> {
        let of = |kind| self.table.get(self.metric, kind, Some(self.method), concept);
        self.worsening(of(ScoreKind::End)?, of(ScoreKind::Shifted(shift))?)
    }

    /// For each image of a concept its score, and the best score for another concept of the class.
    fn rivals(&self, concept: usize) -> Option<Vec<(f64, usize, f64)>> {
        let of = |kind| self.table.get(self.metric, kind, Some(self.method), concept);
        let own = of(ScoreKind::End)?;
        let others = self.protocol.of_same_class(concept);
        let others: Vec<(usize, &[Scored])> =
            others.filter_map(|other| Some((other, of(ScoreKind::Other(other))?))).collect();
        let better = |a: f64, b: f64| self.info.better.worsening(a, b) < 0.0;
        let image = |number: usize| {
            let own = *own[number].as_ref().ok()?;
            let scores = others.iter().filter_map(|(o, s)| Some((*o, *s[number].as_ref().ok()?)));
            let best =
                scores.reduce(|best, other| if better(best.1, other.1) { other } else { best })?;
            Some((own, best.0, best.1))
        };
        let rivals: Vec<_> = (0..own.len()).filter_map(image).collect();
        (!rivals.is_empty()).then_some(rivals)
    }

    /// The share of images that are not closest to their own concept among those of the class; a tie
    /// counts.
    pub fn confused(&self, concept: usize) -> Option<f64> {
        let rivals = self.rivals(concept)?;
        mean(rivals.iter().map(|(own, _, other)| f64::from(self.lost(*own, *other))))
    }

    fn lost(&self, own: f64, other: f64) -> bool {
        self.info.better.worsening(other, own) >= 0.0
    }

    /// By how much an image is closer to its own concept than to the next one of the class.
    fn margin(&self, concept: usize) -> Option<f64> {
        let rivals = self.rivals(concept)?;
        mean(rivals.iter().map(|(own, _, other)| self.info.better.worsening(*own, *other)))
    }

    /// The share of a concept's images that are closest to each of these concepts.
    pub fn closest(&self, concept: usize, among: &[usize]) -> Option<Vec<f64>> {
        let rivals = self.rivals(concept)?;
        let closest = |(own, other, score): &(f64, usize, f64)| {
            if self.lost(*own, *score) { *other } else { concept }
        };
        let share = |candidate: &usize| {
            mean(rivals.iter().map(|rival| f64::from(closest(rival) == *candidate)))
        };
        among.iter().map(share).collect()
    }

    /// Drift from the base model, and what becomes of the fit to prompts about nothing learnt; prompt by
    /// prompt.
    fn unrelated(&self) -> Vec<Measured> {
        let (metric, method) = (self.metric, Some(self.method));
        let over_prompts = |name: &str, values: Vec<Option<f64>>| {
            let seeds = self.protocol.seeds.len().max(1);
            let prompts = values.chunks(seeds).filter_map(|p| mean(p.iter().flatten().copied()));
            let (name, over) = (name.to_string(), "prompts");
            let missing = values.iter().filter(|value| value.is_none()).count();
            Measured { name, over, values: prompts.collect(), missing }
        };
        let drift = self.table.get(metric, ScoreKind::Drift, method, 0).map(|scores| {
            let values = scores.iter().map(|score| Some(self.distance(*score.as_ref().ok()?)));
            over_prompts("drift", values.collect())
        });
        let own = self.table.get(metric, ScoreKind::Unrelated, method, 0);
        let base = self.table.get(metric, ScoreKind::Unrelated, None, 0);
        let score = own.map(|scores| {
            over_prompts(
                "unrelated",
                scores.iter().map(|score| score.as_ref().ok().copied()).collect(),
            )
        });
        let loss = own.zip(base).map(|(own, base)| {
            let lost = |(own, base): (&Scored, &Scored)| {
                Some(self.info.better.worsening(*base.as_ref().ok()?, *own.as_ref().ok()?))
            };
            over_prompts("unrelated_loss", own.iter().zip(base).map(lost).collect())
        });
        [drift, score, loss].into_iter().flatten().collect()
    }

    /// How far two images are apart: (1 − cosine) / 2, from 0 to 1; other units stay as they are.
    fn distance(&self, score: f64) -> f64 {
        match (self.info.unit.as_str(), self.info.better) {
            ("cosine", Direction::Higher) => (1.0 - score) / 2.0,
            ("distance", Direction::Lower) => score / 2.0,
            _ => score,
        }
    }

    /// Pair by pair: the mean over both concepts, and the worse of them.
    fn pairs(&self, name: &str, boxes: bool, cropped: bool) -> Vec<Measured> {
        let pairs = 0..self.protocol.pairs.len();
        let scores: Vec<Vec<f64>> = pairs
            .clone()
            .map(|pair| self.pair_scores(pair, boxes, cropped).into_iter().flatten().collect())
            .collect();
        let kinds = self.pair_kinds(boxes, cropped);
        let missing = |pair| {
            let of =
                |kind: &ScoreKind| self.table.missing(self.metric, *kind, Some(self.method), pair);
            kinds.iter().map(of).sum::<usize>()
        };
        let missing = pairs.map(missing).sum();
        let worse = |scores: &Vec<f64>| {
            let worse = |a: f64, b: f64| if self.info.better.worsening(a, b) > 0.0 { b } else { a };
            scores.iter().copied().reduce(worse).filter(|_| scores.len() == 2)
        };
        let measured =
            |name: String, values: Vec<f64>| Measured { name, over: "pairs", values, missing };
        let means = scores.iter().filter_map(|scores| mean(scores.iter().copied()));
        vec![
            measured(name.into(), means.collect()),
            measured(format!("{name}_worse"), scores.iter().filter_map(worse).collect()),
        ]
    }

    fn pair_kinds(&self, boxes: bool, cropped: bool) -> Vec<ScoreKind> {
        let members = [0, 1].map(|member| ScoreKind::Pair { boxes, member, cropped });
        let prompt = (!cropped).then_some(ScoreKind::PairPrompt { boxes });
        members.into_iter().chain(prompt).collect()
    }

    /// The scores of the two concepts of a pair, or its score for the prompt.
    pub fn pair_scores(&self, pair: usize, boxes: bool, cropped: bool) -> Vec<Option<f64>> {
        let of = |kind| self.table.mean(self.metric, kind, Some(self.method), pair);
        let there = |kind: &ScoreKind| {
            self.table.get(self.metric, *kind, Some(self.method), pair).is_some()
        };
        self.pair_kinds(boxes, cropped).into_iter().filter(there).map(of).collect()
    }

    /// The standard deviation over seeds of the mean over all prompts and concepts.
    pub fn seed_std(&self) -> Option<f64> {
        let seeds = self.protocol.seeds.len();
        let concepts = 0..self.protocol.concepts.len();
        let of = |concept| self.table.get(self.metric, ScoreKind::End, Some(self.method), concept);
        let whole =
            |concept: usize| of(concept).filter(|scores| scores.len().is_multiple_of(seeds));
        let of_seed = |seed: usize| {
            let scores = concepts.clone().filter_map(whole);
            let scores = scores.flat_map(|scores| scores.iter().skip(seed).step_by(seeds));
            mean(scores.flatten().copied())
        };
        let means: Vec<f64> = (0..seeds).filter_map(of_seed).collect();
        if means.len() < 2 || means.len() < seeds || self.plan.models.is_empty() {
            return None;
        }
        let centre = mean(means.iter().copied())?;
        let squares: f64 = means.iter().map(|x| (x - centre).powi(2)).sum();
        Some((squares / (means.len() - 1) as f64).sqrt())
    }
}
