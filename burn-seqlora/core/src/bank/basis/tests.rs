//! The cache against the owners' own files.

use std::cell::Cell;
use std::path::Path;

use super::super::ConceptId;
use super::*;
use crate::lora::{Part, Role};

fn sites() -> Vec<Site> {
    let site = |(name, inputs): (&str, usize)| Site {
        name: name.into(),
        inputs,
        outputs: 2,
        part: Part::Denoiser,
        role: Role::CrossAttention,
    };
    [("a", 3), ("b", 5)].map(site).into()
}

fn block(owner: &Owner) -> Block {
    let seed: usize = owner.id.parse().unwrap();
    let down = |rank, inputs: usize| {
        (0..rank * inputs).map(|x| (x + seed) as f32 / 3.0).collect::<Vec<f32>>()
    };
    let [a, b] = <[Site; 2]>::try_from(sites()).unwrap();
    let mut of = Down::default();
    of.insert(&a, down(2, 3));
    // The first concept is not adapted at site b.
    if seed > 0 {
        of.insert(&b, down(1, 5));
    }
    let group = (seed == 3).then(|| "pets".to_string());
    Block { reserves_directions: true, group, down: of }
}

fn owner(number: usize) -> Owner {
    Owner { id: ConceptId::new(number.to_string()).unwrap(), record: None }
}

fn owners(count: usize) -> Vec<Owner> {
    (0..count).map(owner).collect()
}

/// The owners' own files.
#[derive(Default)]
struct Own {
    /// How often a block was read from them.
    count: Cell<usize>,
    /// The numbers of those that are damaged.
    damaged: Vec<usize>,
}

impl OwnFiles for Own {
    fn block(&self, owner: &Owner) -> Result<Block> {
        self.count.set(self.count.get() + 1);
        Ok(block(owner))
    }

    fn contradict(&self, owner: &Owner, cached: &CachedRanks, columns: &[u8]) -> bool {
        let is_damaged = self.damaged.iter().any(|number| owner.id == *number.to_string());
        !is_damaged && !block(owner).is(cached, columns, &sites())
    }
}

/// Columns as the owners' files have them, and how many of these were read.
fn read_of(folder: &Path, owners: &[Owner], writable: bool) -> (Vec<Columns>, usize) {
    let (folder, sites, own) = (GuardedFolder::new(folder), sites(), Own::default());
    let cache = BasisCache::new(&folder, &sites);
    let columns = cache.columns(owners, None, &own, writable).unwrap();
    (columns, own.count.get())
}

fn read(folder: &Path, concepts: usize, writable: bool) -> (Vec<Columns>, usize) {
    read_of(folder, &owners(concepts), writable)
}

#[test]
fn the_cache_holds_what_the_adapters_hold() {
    let folder = tempfile::tempdir().unwrap();
    let (direct, count) = read(folder.path(), 2, false);
    assert_eq!((direct[0].len(), direct[1].len(), count), (4, 1, 2));
    assert_eq!(direct[1][0], (0..5).map(|x| f64::from((x + 1) as f32 / 3.0)).collect::<Vec<_>>());
    assert!(!folder.path().join("basis").exists(), "a reader writes nothing");
    assert_eq!(read(folder.path(), 2, true), (direct.clone(), 2));
    assert_eq!(read(folder.path(), 2, true), (direct, 0));
    let (_, count) = read(folder.path(), 3, true);
    assert_eq!(count, 1, "only the new concept is read");
}

#[test]
fn appending_keeps_it_complete() {
    let folder = tempfile::tempdir().unwrap();
    let (guarded, sites) = (GuardedFolder::new(folder.path()), sites());
    let cache = BasisCache::new(&guarded, &sites);
    for count in 1..=3 {
        cache.append(&owners(count), block(&owner(count - 1))).unwrap();
    }
    assert_eq!(read(folder.path(), 3, true).1, 0);
    assert_eq!(cache.ranks(&owner(1)).unwrap().ranks, [2, 1]);
    assert_eq!(cache.block(&owner(1)).unwrap().down, block(&owner(1)).down);
    let places = cache.places(&owners(3), &Own::default()).unwrap();
    assert_eq!(places[2].read(1, 5).unwrap(), read(folder.path(), 3, true).0[1][1]);
    assert!(cache.places(&owners(4), &Own::default()).is_none(), "it does not hold all");
}

#[test]
fn a_damaged_cache_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (expected, _) = read(folder.path(), 3, true);
    let file = folder.path().join("basis/columns.f32");
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[5] ^= 1;
    for damaged in [&flipped[..], &whole[..whole.len() - 1], &[]] {
        fs::write(&file, damaged).unwrap();
        assert_eq!(read(folder.path(), 3, true), (expected.clone(), 3));
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
    fs::write(folder.path().join("basis/index.json"), "{").unwrap();
    assert_eq!(read(folder.path(), 3, true), (expected.clone(), 3));
    assert_eq!(read(folder.path(), 3, true), (expected, 0));
}

/// A cache may come from a stranger as a whole, with digests of its own.
#[test]
fn what_the_adapters_do_not_say_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (expected, _) = read(folder.path(), 2, true);
    let forged = tempfile::tempdir().unwrap();
    let (guarded, sites) = (GuardedFolder::new(forged.path()), sites());
    let cache = BasisCache::new(&guarded, &sites);
    cache.append(&owners(1), block(&owner(2))).unwrap();
    cache.append(&owners(2), block(&owner(1))).unwrap();
    assert!(cache.places(&owners(2), &Own::default()).is_none());
    // Nothing is known of damaged files, so that the cache is believed.
    let own = Own { damaged: vec![0], ..Own::default() };
    let columns = cache.columns(&owners(2), None, &own, false).unwrap();
    assert!(columns != expected && own.count.get() == 0);
    assert_eq!(read(forged.path(), 2, true), (expected.clone(), 2));
    assert_eq!(read(forged.path(), 2, true), (expected, 0));
}

/// A concept that was replaced by another of the same id is read again.
#[test]
fn a_block_belongs_to_one_record() {
    let folder = tempfile::tempdir().unwrap();
    let of = |digest: &str| [Owner { record: Some(digest.into()), ..owner(0) }];
    assert_eq!(read_of(folder.path(), &of("01"), true).1, 1);
    assert_eq!(read_of(folder.path(), &of("01"), true).1, 0);
    assert_eq!(read_of(folder.path(), &of("02"), true).1, 1);
}

/// Columns come in the order of the owners, whatever order their blocks lie in and whether they lie
/// there at all.
#[test]
fn the_order_is_that_of_the_owners() {
    let folder = tempfile::tempdir().unwrap();
    read(folder.path(), 3, true);
    let other = [2, 0, 1].map(owner);
    let empty = tempfile::tempdir().unwrap();
    let (expected, _) = read_of(empty.path(), &other, false);
    assert_eq!(read_of(folder.path(), &other, true), (expected, 0));
}

#[test]
fn blocks_of_others_are_passed_over_and_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("basis/columns.f32");
    read(folder.path(), 3, true);
    let whole = fs::metadata(&file).unwrap().len();
    let left = [owner(0), owner(2)];
    let (expected, count) = read_of(folder.path(), &left, true);
    assert_eq!((expected[0].len(), count), (4, 0));
    let (guarded, sites) = (GuardedFolder::new(folder.path()), sites());
    BasisCache::new(&guarded, &sites).keep_only(&left).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), whole - 4 * (2 * 3 + 5));
    assert_eq!(read_of(folder.path(), &left, true), (expected, 0));
    assert_eq!(read(folder.path(), 3, true).1, 2, "the second, and the third after it");
}

#[test]
fn a_group_is_concerned_with_its_own_concepts() {
    let folder = tempfile::tempdir().unwrap();
    let (guarded, sites) = (GuardedFolder::new(folder.path()), sites());
    let cache = BasisCache::new(&guarded, &sites);
    for _ in 0..2 {
        let own = Own::default();
        let read = |count, group| cache.columns(&owners(count), group, &own, true).unwrap();
        let [pets, others] = ["pets", "cars"].map(|group| read(4, Some(group)));
        let raw: Vec<f64> =
            block(&owner(3)).down.at(&sites[0]).iter().map(|x| (*x).into()).collect();
        assert_eq!((pets[0].concat(), others[0].len()), (raw, 0));
        // Without a group in it, all columns are as they are.
        assert_eq!(read(3, None)[0].len(), 6);
        // With one, they are a basis of the same plane.
        let all = &read(4, None)[0];
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        assert_eq!(all.len(), 2);
        assert!(dot(&all[0], &all[1]).abs() < 1e-12 && (dot(&all[1], &all[1]) - 1.0).abs() < 1e-12);
        let outside = |x: &Vec<f64>| dot(x, x) - all.iter().map(|q| dot(x, q).powi(2)).sum::<f64>();
        assert!(read(3, None)[0].iter().all(|x| outside(x).abs() < 1e-12));
    }
}

#[test]
fn what_differs_from_an_adapter_is_told() {
    let folder = tempfile::tempdir().unwrap();
    read(folder.path(), 2, true);
    let (guarded, sites) = (GuardedFolder::new(folder.path()), sites());
    let cache = BasisCache::new(&guarded, &sites);
    let mut checked: Vec<_> = owners(3).into_iter().map(|o| (o.clone(), block(&o))).collect();
    assert_eq!(cache.agrees(&checked), [Some(true), Some(true), None]);
    checked[1].1.down = block(&owner(2)).down;
    assert_eq!(cache.agrees(&checked), [Some(true), Some(false), None]);
    let file = folder.path().join("basis/columns.f32");
    let mut bytes = fs::read(&file).unwrap();
    bytes[0] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(cache.agrees(&checked), [Some(false), Some(false), None]);
}
