//! A loss of power at every moment while a concept is trained further: the bank that is left is sound and has the
//! concept as it was or as it has become, and the same run goes on from it to the same bytes.

use super::*;

/// How often the first of them was trained further.
fn rounds(bank: &Bank) -> usize {
    let folder = bank.concept_folder(&bank.concepts()[0]);
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap();
    name.parse().unwrap_or(0)
}

/// Trains it further until that has been done twice.
fn further(root: &Path, recorder: &Arc<Recorder>) {
    let mut bank = Bank::open_to_change_in(guarded(root, recorder)).unwrap();
    while rounds(&bank) < 2 {
        learn(&mut bank, &ConceptId::new(CONCEPTS[0]).unwrap(), true).unwrap();
    }
    // What reads B next completes the cache.
    bank.directions(&sites(), None).unwrap();
}

#[test]
fn a_loss_of_power_leaves_a_concept_as_it_was_or_has_become() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::new(folder.path()));
    let before = learnt(folder.path(), &recorder);
    further(folder.path(), &recorder);
    let expected = result(folder.path());
    let states = all_states(&recorder, &[], before);
    println!("{} operations, {} states", recorder.log().len(), states.len());
    assert!(states.len() > 50);
    for state in states.into_keys() {
        let folder = tempfile::tempdir().unwrap();
        write(&state, folder.path());
        let names = state.keys().collect::<Vec<_>>();
        let bank = Bank::open(&folder.path().join("bank")).unwrap();
        let found = bank.verify().unwrap();
        assert!(found.is_sound(), "{found:?} in {names:?}");
        assert_eq!(bank.concepts().len(), CONCEPTS.len());
        drop(bank);
        further(folder.path(), &Arc::new(Recorder::new(folder.path())));
        let found = result(folder.path());
        let all = expected.keys().chain(found.keys());
        let different: Vec<_> = all
            .filter(|path| found.get(*path) != expected.get(*path))
            .filter(|path| !path.starts_with("bank/basis"))
            .collect();
        assert!(different.is_empty(), "{different:?} differ from {names:?}");
    }
}
