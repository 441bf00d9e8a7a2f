//! A loss of power at every moment while a concept is removed: the bank that is left is sound with or
//! without it, and the same removal ends with the same bytes.

use super::*;
use crate::bank::Directions;

/// Removes the first of them, unless it is gone already.
fn remove(root: &Path, recorder: &Arc<Recorder>, directions: Directions) {
    let mut bank = Bank::open_to_change_in(guarded(root, recorder)).unwrap();
    if bank.contains(CONCEPTS[0]) {
        bank.remove(CONCEPTS[0], directions).unwrap();
    }
}

#[test]
fn a_loss_of_power_leaves_a_concept_or_removes_it() {
    for directions in [Directions::Keep, Directions::Free] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Arc::new(Recorder::new(folder.path()));
        let before = learnt(folder.path(), &recorder);
        let dog = |root: &Path| std::fs::read(root.join("bank/concepts/dog/adapter.safetensors"));
        let kept = dog(folder.path()).unwrap();
        remove(folder.path(), &recorder, directions);
        let expected = result(folder.path());
        let states = all_states(&recorder, &[], before);
        println!("{directions:?}: {} operations, {} states", recorder.log().len(), states.len());
        assert!(states.len() > 20);
        for state in states.into_keys() {
            let folder = tempfile::tempdir().unwrap();
            write(&state, folder.path());
            let names = state.keys().collect::<Vec<_>>();
            let bank = Bank::open(&folder.path().join("bank")).unwrap();
            assert!([&["cat", "dog"][..], &["dog"]].contains(&&ids(&bank)[..]), "{names:?}");
            let found = bank.verify().unwrap();
            assert!(found.is_sound(), "{found:?} in {names:?}");
            drop(bank);
            assert_eq!(dog(folder.path()).unwrap(), kept);
            let recorder = Arc::new(Recorder::new(folder.path()));
            remove(folder.path(), &recorder, directions);
            // What reads B next completes the cache.
            let bank = Bank::open_to_change_in(guarded(folder.path(), &recorder)).unwrap();
            bank.directions(&sites(), None).unwrap();
            let found = result(folder.path());
            let all = expected.keys().chain(found.keys());
            let different: Vec<_> = all
                .filter(|path| found.get(*path) != expected.get(*path))
                .filter(|path| !path.starts_with("bank/basis"))
                .collect();
            assert!(different.is_empty(), "{different:?} differ from {names:?}");
        }
    }
}

fn ids(bank: &Bank) -> Vec<&str> {
    bank.concepts().iter().map(ConceptId::as_str).collect()
}
