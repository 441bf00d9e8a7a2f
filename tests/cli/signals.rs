//! Ctrl-C where nothing would be lost: whatever is being read, the program ends at once.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use burn_seqlora::files::sha256;
use image::{Rgb, RgbImage};

use crate::harness::{Project, THREE};
use crate::run::Running;
use crate::stranger::Stranger;

/// Time to begin to read; all that there is to read takes several times as long.
const BEGINNING: Duration = Duration::from_millis(500);

/// Panics unless the run is still at work, and Ctrl-C ends it within two seconds.
#[track_caller]
fn ends_at_once(mut run: Running) {
    sleep(BEGINNING);
    assert!(run.goes_on(), "it ended before the signal");
    let start = Instant::now();
    run.interrupt().fails(130, &["stopped"]);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// A plan decodes every image.
#[test]
fn a_plan_of_many_images_can_be_interrupted() {
    let project = Project::new(&[]);
    fs::create_dir_all(project.path("photos/cat")).unwrap();
    let first = project.path("photos/cat/0.png");
    RgbImage::from_pixel(2048, 2048, Rgb([90; 3])).save(&first).unwrap();
    // Names of the same file: they take no space on the disk, and as long to decode as files of their own.
    for number in 1..3000 {
        fs::hard_link(&first, project.path(&format!("photos/cat/{number}.png"))).unwrap();
    }
    let mut run = project.start_learn("--plan");
    run.wait_for_message("data ");
    ends_at_once(run);
}

/// `inspect` reads all files of a bank, here of concepts that were trained in millions of steps.
#[test]
fn an_inspection_of_a_large_bank_can_be_interrupted() {
    let project = Project::with_bank();
    let line = b"{\"loss\":1}\n";
    let losses = line.repeat((96 << 20) / line.len());
    let digest = sha256(&losses);
    project.write("losses", &losses);
    let stranger = Stranger::new(&project);
    for id in THREE {
        let file = stranger.path(&format!("concepts/{id}/metrics.jsonl"));
        fs::remove_file(&file).unwrap();
        fs::hard_link(project.path("losses"), file).unwrap();
        stranger.concept(id, |record| record["digests"]["metrics.jsonl"] = digest.clone().into());
    }
    ends_at_once(Running::start(project.command(&["inspect", "bank"])));
}
