//! Runs that are killed at any moment, and other runs beside one that writes.

use std::time::{Duration, Instant};

use crate::harness::Project;
use crate::resume::{OPTIONS, unbroken};

/// How often a command is killed, if not as often as usual: `.ci/full` sets it.
pub fn kills(usual: usize) -> usize {
    let number = std::env::var("SEQLORA_KILLS");
    number.map_or(usual, |number| number.parse().expect("a number"))
}

/// Moments that are spread over a time, without end: multiples of the golden ratio, of which neighbours are as far from
/// each other as can be.
pub fn moments(whole: Duration) -> impl Iterator<Item = Duration> {
    (1..).map(move |number| whole.mul_f64((f64::from(number) * 0.618_034).fract()))
}

/// SIGKILL at moments that are spread over a run and over one that goes on from it. What follows gives every
/// byte of a run that nobody killed.
#[test]
fn killed_runs_go_on_to_the_same_bytes() {
    let wanted = kills(10);
    unbroken();
    let start = Instant::now();
    Project::new(&["cat", "dog"]).learn("photos", OPTIONS).succeeds();
    let mut moments = moments(start.elapsed());
    let resumed = format!("{OPTIONS} --resume");
    let mut kills = 0;
    while kills < wanted {
        let project = Project::new(&["cat", "dog"]);
        for options in [OPTIONS, &resumed] {
            let moment = moments.next().expect("there is no last one");
            kills += usize::from(project.start_learn(options).kill_after(moment));
        }
        project.learn("photos", &resumed).succeeds();
        project.bank().assert_same(unbroken());
    }
}

/// While one process writes, others may read at any moment, and no second one may write.
#[test]
fn readers_and_a_second_writer_do_not_disturb_a_writer() {
    let project = Project::new(&["cat", "dog"]);
    let mut run = project.start_learn(OPTIONS);
    run.wait_for(&project.path("bank/bank.json"));
    let (mut refused, mut drawn) = (false, false);
    while run.goes_on() {
        let ids = project.ids();
        assert!(["cat", "dog"].iter().zip(&ids).all(|(id, found)| id == found), "{ids:?}");
        if !ids.is_empty() {
            project.image("<cat>", "");
            drawn = true;
        }
        // It fails even if the first has just ended: the bank then holds a cat.
        let second = project.learn("photos/cat", "").fails(1, &[]);
        refused |= second.stderr.contains("in use by another process");
    }
    run.finish().succeeds();
    assert!(refused && drawn, "another run wrote: {refused}, drew: {drawn}");
    project.bank().assert_same(unbroken());
}
