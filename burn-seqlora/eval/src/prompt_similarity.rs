//! How well images fit their prompts, by the cosine of two towers of one model.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::rc::Rc;

use burn::tensor::{Tensor, backend::Backend};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::embedding::{cosine, unit_rows};
use crate::{Context, Direction, Embedder, Embedding, Metric, MetricError, Needs};

/// A network whose embeddings of texts are close, by cosine, to embeddings of images that fit them.
pub trait TextEncoder<B: Backend>: Debug {
    /// `[texts, width]`, with the width of the images' embeddings. Their length does not matter.
    ///
    /// # Errors
    /// If a text cannot be encoded.
    fn embed(&self, texts: &[String]) -> Result<Tensor<B, 2>, MetricError>;
}

/// A text encoder that remembers the embedding of every text.
#[derive(Debug)]
pub struct TextEmbedder<B: Backend> {
    encoder: Box<dyn TextEncoder<B>>,
    embeddings: RefCell<HashMap<String, Embedding>>,
}

impl<B: Backend> TextEmbedder<B> {
    /// An embedder without embeddings yet.
    pub fn new(encoder: impl TextEncoder<B> + 'static) -> Self {
        Self { encoder: Box::new(encoder), embeddings: RefCell::default() }
    }

    /// The embedding of each text.
    ///
    /// # Errors
    /// If a text cannot be encoded.
    pub fn embed(&self, texts: &[String]) -> Result<Vec<Embedding>, MetricError> {
        let mut embeddings = self.embeddings.borrow_mut();
        let mut missing: Vec<String> = Vec::new();
        for text in texts {
            if !embeddings.contains_key(text) && !missing.contains(text) {
                missing.push(text.clone());
            }
        }
        if !missing.is_empty() {
            let embedded = unit_rows(self.encoder.embed(&missing)?);
            embeddings.extend(missing.into_iter().zip(embedded));
        }
        Ok(texts.iter().map(|text| embeddings[text].clone()).collect())
    }
}

/// What a prompt is turned into before it is scored. By default it has no prefix, and of
/// `a <dog6> dog on a beach` the class word stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromptText {
    /// What stands before every prompt. Mix-of-Show has "A photo depicts " here.
    pub prefix: String,
    /// Whether concepts' words, such as `<dog6>`, are left in: an encoder does not know them.
    pub keep_words: bool,
}

impl PromptText {
    /// The text that is scored for a prompt.
    pub fn of(&self, prompt: &str) -> String {
        let is_kept = |word: &&str| {
            self.keep_words
                || !(word.starts_with('<') && word.trim_end_matches(MARKS).ends_with('>'))
        };
        let words: Vec<&str> = prompt.split_whitespace().filter(is_kept).collect();
        format!("{}{}", self.prefix, words.join(" "))
    }

    fn description(&self) -> String {
        let words = if self.keep_words { "with" } else { "without" };
        match self.prefix.as_str() {
            "" => format!("prompts {words} concepts' words"),
            prefix => format!("prompts {words} concepts' words, after {prefix:?}"),
        }
    }
}

/// What may follow a concept's word without a space.
const MARKS: [char; 6] = ['.', ',', '!', '?', ':', ';'];

/// How the cosine becomes a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptScore {
    /// The cosine itself.
    Cosine,
    /// `2.5 max(cosine, 0)`: CLIPScore ([arXiv 2104.08718](https://arxiv.org/abs/2104.08718)), which the
    /// tables of CustomConcept101 and Mix-of-Show have.
    ClipScore,
}

/// The similarity of an image to its prompt.
#[derive(Debug)]
pub struct PromptSimilarity<B: Backend> {
    name: String,
    images: Rc<Embedder<B>>,
    texts: Rc<TextEmbedder<B>>,
    score: PromptScore,
    prompts: PromptText,
}

impl<B: Backend> PromptSimilarity<B> {
    /// The metric `name`, of the two towers of one model.
    pub fn new(
        name: impl Into<String>,
        images: Rc<Embedder<B>>,
        texts: Rc<TextEmbedder<B>>,
        score: PromptScore,
        prompts: PromptText,
    ) -> Self {
        Self { name: name.into(), images, texts, score, prompts }
    }
}

impl<B: Backend> Metric for PromptSimilarity<B> {
    fn name(&self) -> &str {
        &self.name
    }

    fn unit(&self) -> &str {
        match self.score {
            PromptScore::Cosine => "cosine",
            PromptScore::ClipScore => "2.5 cosine",
        }
    }

    fn better(&self) -> Direction {
        Direction::Higher
    }

    fn description(&self) -> String {
        let (encoder, prompts) = (self.images.name(), self.prompts.description());
        let cosine = match self.score {
            PromptScore::Cosine => "cosine between an image and its prompt",
            PromptScore::ClipScore => "2.5 max(cosine, 0) of an image and its prompt",
        };
        format!("{cosine}, by {encoder}; {prompts}")
    }

    fn preprocessing(&self) -> String {
        self.images.preprocessing()
    }

    fn needs(&self) -> Needs {
        Needs { prompts: true, ..Needs::default() }
    }

    fn score(&self, images: &[RgbImage], context: &Context<'_>) -> Result<Vec<f64>, MetricError> {
        let texts: Vec<String> =
            context.prompts.iter().map(|prompt| self.prompts.of(prompt)).collect();
        let texts = self.texts.embed(&texts)?;
        let score = |(image, text): (&Embedding, &Embedding)| {
            let cosine = cosine(image, text);
            match self.score {
                PromptScore::Cosine => cosine,
                PromptScore::ClipScore => 2.5 * cosine.max(0.0),
            }
        };
        Ok(self.images.embed(images).iter().zip(&texts).map(score).collect())
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use std::cell::Cell;

    use seqlora_kernels::Flex;

    use super::*;
    use crate::embedding::tests::{first_pixel, plain};
    use crate::evaluate;

    /// Embeds a text as the colour that it names, and counts the texts.
    #[derive(Debug, Default)]
    struct Colours(Rc<Cell<usize>>);

    impl TextEncoder<Flex> for Colours {
        fn embed(&self, texts: &[String]) -> Result<Tensor<Flex, 2>, MetricError> {
            self.0.set(self.0.get() + texts.len());
            let row = |text: &String| match text.contains("white") {
                true => Tensor::<Flex, 1>::from_floats([2.0, 2.0, 2.0], &Default::default()),
                false => Tensor::from_floats([1.0, -1.0, -1.0], &Default::default()),
            };
            Ok(Tensor::stack(texts.iter().map(row).collect(), 0))
        }
    }

    #[test]
    fn both_forms_of_the_score() {
        let count = Rc::<Cell<usize>>::default();
        let texts = Rc::new(TextEmbedder::new(Colours(count.clone())));
        let (images, _) = first_pixel();
        let prompts: Vec<String> =
            ["a white <dog6> dog", "a red dog", "a white dog"].map(String::from).into();
        let context = Context { prompts: &prompts, ..Context::default() };
        let pictures = [plain([255; 3]), plain([255; 3]), plain([0; 3])];
        let scores = |score| {
            let text = PromptText::default();
            let metric = PromptSimilarity::new("text", images.clone(), texts.clone(), score, text);
            evaluate(&metric, &pictures, &context).unwrap()
        };
        let close = |found: Vec<f64>, expected: [f64; 3]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7), "{found:?}");
        };
        close(scores(PromptScore::Cosine), [1.0, -1.0 / 3.0, -1.0]);
        close(scores(PromptScore::ClipScore), [2.5, 0.0, 0.0]);
        assert_eq!(count.get(), 2, "without the concept's word two prompts are the same");
    }

    #[test]
    fn concepts_words_are_left_out() {
        let text = PromptText::default();
        assert_eq!(text.of("a  <dog6> dog,\n with <mug>, at 3 < 4"), "a dog, with at 3 < 4");
        let mix_of_show = PromptText { prefix: "A photo depicts ".into(), keep_words: true };
        assert_eq!(mix_of_show.of("a <dog6> dog"), "A photo depicts a <dog6> dog");
    }
}
