//! `seqlora generate --init`.

use std::fs;

use crate::harness::Project;
use crate::images::image;

fn project() -> Project {
    let project = Project::with_bank();
    image("cat", 0).save(project.path("cat.png")).unwrap();
    image("dog", 0).save(project.path("dog.png")).unwrap();
    project
}

/// The image, the strength and the seed decide, and the image tells them.
#[test]
fn an_image_is_changed() {
    let project = project();
    let changed = |options: &str| {
        project.generate("a <mug>", &format!("--bank bank {options}")).succeeds();
        project.pixels()
    };
    let first = changed("--init cat.png --strength 0.5");
    let text = fs::read(project.path("out/00000.png")).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("Denoising strength: 0.5, Init image: cat.png"), "{text}");
    assert!(text.contains("Size: 32x32"), "{text}");
    assert!(first == changed("--init cat.png --strength 0.5"), "one seed gave two images");
    for options in [
        "--size 32x32",
        "--init dog.png --strength 0.5",
        "--init cat.png --strength 0.25",
        "--init cat.png --strength 1",
        "--init cat.png",
        "--init cat.png --strength 0.5 --seed 1",
        "--init cat.png --strength 0.5 --sampler euler-a",
    ] {
        assert!(first != changed(options), "{options} changes nothing");
    }
    assert_eq!(changed("--init cat.png --size 48x64").len(), 48 * 64 * 3);
}

/// Images of one run, in any batch, are those of single runs.
#[test]
fn batches_change_nothing() {
    let project = project();
    let options = "--bank bank --init cat.png --num 2 --sampler euler-a --out";
    project.generate("a <mug>", &format!("{options} both --batch 2")).succeeds();
    project.generate("a <mug>", &format!("{options} single")).succeeds();
    for name in ["00000.png", "00001.png"] {
        let [both, single] = ["both", "single"].map(|folder| {
            image::open(project.path(folder).join(name)).unwrap().into_rgb8().into_raw()
        });
        let apart = both.iter().zip(&single).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(apart <= Some(1), "{name}: {apart:?}");
    }
}

#[test]
fn what_cannot_begin_is_refused() {
    let project = project();
    let generate = |options: &str| project.generate("a mug", options);
    generate("--strength 0.5").fails(2, &["--init"]);
    for strength in ["0", "1.5", "-1", "nan", "much"] {
        generate(&format!("--init cat.png --strength={strength}")).fails(2, &["above 0 to 1"]);
    }
    let texts = ["--strength", "leaves none of 4 steps"];
    generate("--init cat.png --strength 0.2").fails(2, &texts);
    generate("--init cat.png --size 33x32").fails(2, &["--size 33x32"]);
    generate("--init nothing.png").fails(1, &["nothing.png"]);
    project.write("text.png", "no image");
    generate("--init text.png").fails(1, &["text.png"]);
}
