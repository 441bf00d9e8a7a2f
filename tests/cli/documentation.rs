//! The book: its pages and their links.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Markdown files in a folder and its sub-folders.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => pages.extend(self::pages(&path)),
            false => pages.extend(Some(path).filter(|p| p.extension().is_some_and(|e| e == "md"))),
        }
    }
    pages
}

/// The files that a page's links name, as they are written, without what is on the net.
fn links(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let files = targets.filter(|link| !link.contains("://") && !link.starts_with('#'));
    files.map(|link| link.split('#').next().unwrap_or_default().to_string()).collect()
}

#[test]
fn links_lead_to_files() {
    let mut all = pages(&root().join("docs"));
    all.extend(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    assert!(all.len() > 20, "{}", all.len());
    for page in all {
        for link in links(&page) {
            let target = page.parent().unwrap().join(&link);
            assert!(target.exists(), "{}: there is no {link}", page.display());
        }
    }
}

#[test]
fn every_page_is_in_the_book() {
    let docs = root().join("docs");
    let summary = docs.join("SUMMARY.md");
    let listed: BTreeSet<PathBuf> = links(&summary).iter().map(|link| docs.join(link)).collect();
    let missing: Vec<PathBuf> = pages(&docs)
        .into_iter()
        .filter(|page| *page != summary && !listed.contains(page))
        .collect();
    assert!(missing.is_empty(), "SUMMARY.md does not list {missing:?}");
}
