//! The closed vocabulary of the captions.

use std::collections::BTreeSet;

use crate::world::background::Background;
use crate::world::caption::{AN, DETERMINERS, FILLERS, JOINTS, OPENINGS};
use crate::world::class::Class;
use crate::world::colour::Colour;
use crate::world::pattern::Pattern;
use crate::world::pose::Size;
use crate::world::relation::Relation;

/// All words that captions consist of, each once, sorted.
///
/// The common templates of customisation papers consist of them too.
pub fn vocabulary() -> Vec<&'static str> {
    let phrases = OPENINGS.into_iter().chain(DETERMINERS).chain(FILLERS).chain(JOINTS);
    let phrases = phrases
        .chain([AN])
        .chain(Class::ALL.map(Class::word))
        .chain(Size::ALL.into_iter().flat_map(|size| size.words()).copied())
        .chain(Colour::ALL.into_iter().flat_map(|colour| colour.words()).copied())
        .chain(Pattern::ALL.into_iter().flat_map(|pattern| pattern.adjectives()).copied())
        .chain(Pattern::ALL.into_iter().flat_map(|pattern| pattern.nouns()).copied())
        .chain(Relation::ALL.into_iter().flat_map(|relation| relation.phrases()).copied())
        .chain(Background::ALL.into_iter().flat_map(|background| background.phrases()).copied());
    let words: BTreeSet<&str> = phrases.flat_map(|phrase| phrase.split(' ')).collect();
    words.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::scene::{Scene, SceneOptions};
    use burn_seqlora::rng::Seed;

    #[test]
    fn captions_use_the_whole_vocabulary_and_nothing_else() {
        let seed = Seed::new(0);
        let caption = |index| {
            let scene = Scene::random(&seed, index, &SceneOptions::default());
            scene.caption(&mut seed.fork("caption").at(index))
        };
        let captions: Vec<String> = (0..5000).map(caption).collect();
        let used: BTreeSet<&str> = captions.iter().flat_map(|c| c.split(' ')).collect();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), vocabulary());
    }

    #[test]
    fn common_prompts_stay_within_the_vocabulary() {
        let words = vocabulary();
        let prompt = "photo of a the picture painting rendering close-up cropped good nice cool \
                      small large big my and with next to beside an";
        assert!(prompt.split_whitespace().all(|word| words.contains(&word)));
    }
}
