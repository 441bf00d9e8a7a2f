//! Scorers that behave and those that do not, as shell scripts.

use image::RgbImage;
use seqlora_eval::{Context, Direction, Metric, PromptText, evaluate};

use super::{ExternalConfig, ExternalError, ExternalScorer};

const HELLO: &str = r#"{"protocol":"evalscore/1","name":"mock","version":"3","columns":["x"],"primary":"x","higher_is_better":false,"needs":["prompt"]}"#;

/// A shell function that answers `$1`, a request, with a score.
const ANSWER: &str = r#"
id_of() { printf '%s' "$1" | sed 's/.*"id":"\([0-9a-f]*\)".*/\1/'; }
answer() { printf '{"id":"%s","scores":{"x":1.5}}\n' "$(id_of "$1")"; }
"#;

fn config(script: &str) -> ExternalConfig {
    let script = format!("{ANSWER}\nhello() {{ echo '{HELLO}'; }}\n{script}");
    ExternalConfig {
        start_timeout_s: 20,
        item_timeout_s: 20,
        restarts: 0,
        ..ExternalConfig::new("mock", ["sh", "-c", &script])
    }
}

fn start(config: ExternalConfig) -> Result<ExternalScorer, ExternalError> {
    ExternalScorer::start(config, PromptText::default())
}

fn images() -> Vec<RgbImage> {
    (0..20).map(|shade| RgbImage::from_pixel(2, 2, image::Rgb([shade; 3]))).collect()
}

/// The scores of twenty images, or the error.
fn scores(config: ExternalConfig) -> Result<Vec<f64>, String> {
    let prompts = vec!["a <dog6> dog".to_string(); 20];
    let context = Context { prompts: &prompts, ..Context::default() };
    let scorer = start(config).map_err(|error| error.to_string())?;
    evaluate(&scorer, &images(), &context).map_err(|error| error.to_string())
}

#[test]
fn one_that_answers_is_a_metric() {
    let scorer = start(config("hello; while read -r line; do answer \"$line\"; done")).unwrap();
    assert_eq!((scorer.name(), scorer.unit(), scorer.better()), ("mock", "x", Direction::Lower));
    assert!(scorer.description().contains("mock 3"));
    assert!(scorer.needs().prompts && !scorer.needs().references);
    let prompts = vec!["a <dog6> dog".to_string(); 20];
    let context = Context { prompts: &prompts, ..Context::default() };
    for _ in 0..2 {
        assert_eq!(evaluate(&scorer, &images(), &context).unwrap(), [1.5; 20]);
    }
}

/// Lines that are ready at once come in any order; here the last request of each two comes first.
#[test]
fn answers_may_come_in_another_order() {
    let script = "hello; while read -r a && read -r b; do answer \"$b\"; answer \"$a\"; done";
    assert_eq!(scores(config(script)).unwrap(), [1.5; 20]);
}

#[test]
fn an_image_that_fails_has_no_score() {
    let script = r#"hello; n=0; while read -r line; do n=$((n + 1));
        if [ $n = 3 ]; then printf '{"id":"%s","error":"too dark"}\n' "$(id_of "$line")"
        else answer "$line"; fi; done"#;
    let error = scores(config(script)).unwrap_err();
    assert!(error.contains("image 2") && error.contains("too dark"), "{error}");
    let scorer = start(config(script)).unwrap();
    let prompts = vec![String::new(); 20];
    let context = Context { prompts: &prompts, ..Context::default() };
    let each = scorer.score_each(&images(), &context).unwrap();
    assert_eq!(each.iter().filter(|score| score.is_ok()).count(), 19);
}

#[test]
fn one_that_ends_is_started_again_with_what_is_left() {
    let script = "hello; for n in 1 2 3 4 5 6 7; do read -r line; answer \"$line\"; done; \
                  echo 'out of memory' >&2; exit 3";
    let error = scores(config(script)).unwrap_err();
    assert!(error.contains("ended") && error.contains("3"), "{error}");
    assert!(error.contains("out of memory"), "{error}");
    // Seven, seven and six.
    let restarts = ExternalConfig { restarts: 2, ..config(script) };
    assert_eq!(scores(restarts).unwrap(), [1.5; 20]);
}

#[test]
fn one_that_hangs_is_given_up() {
    let hanging =
        |script| ExternalConfig { item_timeout_s: 1, start_timeout_s: 1, ..config(script) };
    let error = scores(hanging("hello; exec sleep 100")).unwrap_err();
    assert!(error.contains("within 1 s while scoring"), "{error}");
    let error = scores(hanging("echo loading >&2; exec sleep 100")).unwrap_err();
    assert!(error.contains("within 1 s while starting") && error.contains("loading"), "{error}");
}

#[test]
fn garbage_is_shown_and_not_believed() {
    for (script, expected) in [
        ("echo 'Loading weights...'; sleep 1", "`Loading weights...`: expected the first line"),
        ("hello; read -r line; echo 0.73", "`0.73`: expected an answer"),
        (
            r#"hello; echo '{"id":"00","scores":{"x":1}}'; sleep 1"#,
            "no image that it was asked for",
        ),
        ("hello; exec tr '\\0' x < /dev/zero", "the line does not end"),
    ] {
        // It is not started again either.
        let error = scores(ExternalConfig { restarts: 5, ..config(script) }).unwrap_err();
        assert!(error.contains("`mock` printed") && error.contains(expected), "{error}");
    }
}

#[test]
fn settings_and_programs_that_are_missing_are_named() {
    let missing = ExternalConfig::new("mock", ["seqlora-no-such-program"]);
    let error = start(missing).unwrap_err().to_string();
    assert!(error.contains("cannot be started") && error.contains("no-such-program"), "{error}");
    let none = ExternalConfig::new("mock", [""; 0]);
    assert!(start(none).unwrap_err().to_string().contains("`command` is empty"));
    let unknown = serde_json::from_str::<ExternalConfig>(r#"{"name":"a","command":[],"shell":1}"#);
    assert!(unknown.unwrap_err().to_string().contains("shell"));
}
