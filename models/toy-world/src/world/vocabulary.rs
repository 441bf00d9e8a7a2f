//! The closed vocabulary of captions.

use std::collections::BTreeSet;

use seqlora_core::text::next_placeholder;

use crate::world::background::Background;
use crate::world::caption::{AN, CONNECTIVES, DETERMINERS, FILLERS, OPENINGS};
use crate::world::class::Class;
use crate::world::colour::Colour;
use crate::world::marking::Marking;
use crate::world::relation::Relation;

/// All words of captions, sorted and without duplicates.
///
/// They include the words of the prompt templates that customisation papers commonly use.
pub fn vocabulary() -> Vec<&'static str> {
    let phrases = OPENINGS.into_iter().chain(DETERMINERS).chain(FILLERS).chain(CONNECTIVES);
    let phrases = phrases
        .chain([AN])
        .chain(Class::ALL.map(Class::word))
        .chain(Class::ALL.into_iter().flat_map(Class::variants))
        .chain(Class::ALL.map(|class| class.parts().0))
        .chain(Class::ALL.into_iter().filter_map(|class| class.parts().1))
        .chain(Colour::ALL.map(Colour::word))
        .chain(Marking::ALL.into_iter().filter_map(Marking::word))
        .chain(["without marking"])
        .chain(Relation::ALL.into_iter().flat_map(|relation| relation.phrases()).copied())
        .chain(Background::ALL.into_iter().flat_map(|background| background.phrases()).copied());
    let words: BTreeSet<&str> = phrases.flat_map(|phrase| phrase.split(' ')).collect();
    words.into_iter().collect()
}

/// The words of a prompt that are not in the [`vocabulary`], in lower case. Concepts `<id>` and
/// punctuation do not count as words.
pub fn unknown_words(prompt: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = prompt;
    while let Some((before, _, after)) = next_placeholder(rest) {
        plain.extend([before, " "]);
        rest = after;
    }
    plain += rest;
    let known = vocabulary();
    let bare = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let words = plain.split_whitespace().map(bare);
    words.filter(|word| !word.is_empty() && !known.contains(&word.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::sample::SceneOptions;
    use crate::world::scene::Scene;
    use seqlora_core::rng::Seed;

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
    fn concepts_and_punctuation_are_no_words() {
        let known = "A photo of <cat-00>, next to a mug (on grass) & {}";
        assert_eq!(unknown_words(known), [""; 0]);
        assert_eq!(unknown_words("a Zebra on <cat-00>stilts"), ["zebra", "stilts"]);
    }

    #[test]
    fn common_prompts_stay_within_the_vocabulary() {
        let words = vocabulary();
        let prompt = "photo of a the picture painting rendering close-up cropped good nice cool \
                      small large big my and with next to beside an";
        assert!(prompt.split_whitespace().all(|word| words.contains(&word)));
    }
}
