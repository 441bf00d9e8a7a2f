//! A metric that another program computes.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use image::RgbImage;
use seqlora_eval::{Context, Direction, Metric, MetricError, Needs, PromptText};
use seqlora_files::sha256;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::child::{Event, Lines};
use super::error::ExternalError;
use super::protocol::{Hello, Reply, Request};
use crate::image_id;

/// A scorer: which program it is, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalConfig {
    /// The metric's name in tables.
    pub name: String,
    /// The program and its arguments. It is not run by a shell.
    pub command: Vec<String>,
    /// How many images it is sent before it has answered the first one.
    #[serde(default = "in_flight")]
    pub in_flight: usize,
    /// Seconds from its start to its first line: it may have to load a large model.
    #[serde(default = "start_timeout")]
    pub start_timeout_s: u64,
    /// Seconds from one answer to the next.
    #[serde(default = "item_timeout")]
    pub item_timeout_s: u64,
    /// How often it is started again after it ended or did not answer.
    #[serde(default = "restarts")]
    pub restarts: usize,
}

fn in_flight() -> usize {
    8
}

fn start_timeout() -> u64 {
    900
}

fn item_timeout() -> u64 {
    120
}

fn restarts() -> usize {
    2
}

impl ExternalConfig {
    /// A scorer with the default limits.
    pub fn new(
        name: impl Into<String>,
        command: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            name: name.into(),
            command: command.into_iter().map(Into::into).collect(),
            in_flight: in_flight(),
            start_timeout_s: start_timeout(),
            item_timeout_s: item_timeout(),
            restarts: restarts(),
        }
    }
}

/// A scorer that runs, as a metric.
#[derive(Debug)]
pub struct ExternalScorer {
    config: ExternalConfig,
    hello: Hello,
    prompts: PromptText,
    images: TempDir,
    state: RefCell<State>,
}

/// What changes while it scores.
#[derive(Debug)]
struct State {
    /// `None` after an error.
    child: Option<Lines>,
    restarts: usize,
    /// The answers so far, by the request's id.
    answers: HashMap<String, Result<f64, String>>,
}

impl ExternalScorer {
    /// Starts a scorer and waits for its first line.
    ///
    /// # Errors
    /// If it cannot be started, ends, takes too long, or speaks another protocol.
    pub fn start(config: ExternalConfig, prompts: PromptText) -> Result<Self, ExternalError> {
        let name = config.name.clone();
        let wrong =
            |reason: &str| Err(ExternalError::Config { name: name.clone(), reason: reason.into() });
        if config.command.is_empty() {
            return wrong("`command` is empty");
        }
        if config.in_flight == 0 {
            return wrong("`in_flight` is 0; expected at least 1");
        }
        let images = TempDir::with_prefix("seqlora-scorer-").map_err(|error| {
            ExternalError::Image { name: name.clone(), reason: error.to_string() }
        })?;
        let (child, hello) = launch(&config)?;
        let restarts = config.restarts;
        let state = State { child: Some(child), restarts, answers: HashMap::new() };
        Ok(Self { config, hello, prompts, images, state: RefCell::new(state) })
    }

    /// The temporary folder with the images, which is removed with the scorer.
    pub fn folder(&self) -> &Path {
        self.images.path()
    }

    /// The score of each image, or why it has none.
    ///
    /// # Errors
    /// If the scorer ends or does not answer more often than it may, or prints something else than
    /// answers.
    pub fn score_each(
        &self,
        images: &[RgbImage],
        context: &Context<'_>,
    ) -> Result<Vec<Result<f64, String>>, ExternalError> {
        let requests = self.requests(images, context)?;
        let mut state = self.state.borrow_mut();
        let mut waiting: VecDeque<Request> = VecDeque::new();
        for request in &requests {
            let is_known = state.answers.contains_key(&request.id);
            if !is_known && waiting.iter().all(|other| other.id != request.id) {
                waiting.push_back(request.clone());
            }
        }
        self.answer(&mut state, waiting)?;
        Ok(requests.iter().map(|request| state.answers[&request.id].clone()).collect())
    }

    /// Has the scorer answer all requests, in as many attempts as it may have.
    fn answer(
        &self,
        state: &mut State,
        mut waiting: VecDeque<Request>,
    ) -> Result<(), ExternalError> {
        while !waiting.is_empty() {
            let child = match state.child.take() {
                Some(child) => child,
                None => launch(&self.config)?.0,
            };
            match self.converse(child, &mut waiting, &mut state.answers) {
                Ok(child) => state.child = Some(child),
                Err(error @ ExternalError::Garbage { .. }) => return Err(error),
                Err(error) => match state.restarts.checked_sub(1) {
                    Some(left) => state.restarts = left,
                    None => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Sends requests and takes answers, until none is waiting. What is not answered stays in `waiting`.
    fn converse(
        &self,
        mut child: Lines,
        waiting: &mut VecDeque<Request>,
        answers: &mut HashMap<String, Result<f64, String>>,
    ) -> Result<Lines, ExternalError> {
        const DOING: &str = "scoring images";
        let mut sent = 0;
        let limit = Duration::from_secs(self.config.item_timeout_s);
        while !waiting.is_empty() {
            let more = self.config.in_flight.min(waiting.len());
            for request in waiting.range(sent.min(more)..more) {
                child.send(serde_json::to_string(request).expect("text and lists are JSON"));
            }
            sent = sent.max(more);
            let line = match child.next(limit) {
                // Lines without content are common and harmless.
                Event::Line(line) if line.is_empty() => continue,
                Event::Line(line) => line,
                other => return Err(failure(&self.config, &mut child, other, limit, DOING)),
            };
            let found = Reply::parse(&line).and_then(|reply| {
                let mut asked = waiting.iter().take(sent);
                match asked.position(|request| request.id == reply.id) {
                    Some(place) => Ok((reply, place)),
                    None => Err("no image that it was asked for has this id".into()),
                }
            });
            let (reply, place) = match found {
                Ok(found) => found,
                Err(reason) => {
                    child.stop();
                    return Err(garbage(&self.config, &line, reason));
                }
            };
            waiting.remove(place);
            sent -= 1;
            answers.insert(reply.id.clone(), reply.score(&self.hello.primary));
        }
        Ok(child)
    }

    /// What is asked about each image. The images and references are written as files.
    fn requests(
        &self,
        images: &[RgbImage],
        context: &Context<'_>,
    ) -> Result<Vec<Request>, ExternalError> {
        let references = if self.hello.needs("refs") { context.references } else { &[] };
        let refs =
            references.iter().map(|image| self.write(image)).collect::<Result<Vec<_>, _>>()?;
        let request = |(number, image): (usize, &RgbImage)| {
            let path = self.write(image)?;
            let prompt = context.prompts.get(number).filter(|_| self.hello.needs("prompt"));
            let prompt = prompt.map(|prompt| self.prompts.of(prompt));
            // The same image has another score with another prompt.
            let own = [path.as_str(), prompt.as_deref().unwrap_or_default()];
            let parts: Vec<&str> = own.into_iter().chain(refs.iter().map(String::as_str)).collect();
            let id = sha256(parts.join("\n").as_bytes());
            Ok(Request { id, image: path, prompt, refs: refs.clone() })
        };
        images.iter().enumerate().map(request).collect()
    }

    /// The path of an image, which is written once.
    fn write(&self, image: &RgbImage) -> Result<String, ExternalError> {
        let path = self.images.path().join(format!("{}.png", image_id(image)));
        let failed =
            |reason: String| ExternalError::Image { name: self.config.name.clone(), reason };
        if !path.is_file() {
            image.save(&path).map_err(|error| failed(error.to_string()))?;
        }
        text(&path).ok_or_else(|| failed(format!("{} is not UTF-8", path.display())))
    }
}

fn text(path: &Path) -> Option<String> {
    path.to_str().map(String::from)
}

/// Starts the program, and reads its first line.
fn launch(config: &ExternalConfig) -> Result<(Lines, Hello), ExternalError> {
    const DOING: &str = "starting";
    let mut child = Lines::start(&config.command).map_err(|source| ExternalError::Start {
        name: config.name.clone(),
        command: config.command.join(" "),
        source,
    })?;
    let (limit, start) = (Duration::from_secs(config.start_timeout_s), Instant::now());
    loop {
        match child.next(limit.saturating_sub(start.elapsed())) {
            Event::Line(line) if line.is_empty() => {}
            Event::Line(line) => {
                return match Hello::parse(&line) {
                    Ok(hello) => Ok((child, hello)),
                    Err(reason) => {
                        child.stop();
                        Err(garbage(config, &line, reason))
                    }
                };
            }
            other => return Err(failure(config, &mut child, other, limit, DOING)),
        }
    }
}

/// The error of an event that is no line. The child is stopped.
fn failure(
    config: &ExternalConfig,
    child: &mut Lines,
    event: Event,
    limit: Duration,
    doing: &'static str,
) -> ExternalError {
    let name = config.name.clone();
    let (status, log) = child.stop();
    match event {
        Event::TooLong(line) => garbage(config, &line, "the line does not end".into()),
        Event::Timeout => ExternalError::Timeout { name, seconds: limit.as_secs(), doing, log },
        _ => ExternalError::Ended { name, status, doing, log },
    }
}

fn garbage(config: &ExternalConfig, line: &str, reason: String) -> ExternalError {
    let line = line.chars().take(200).collect();
    ExternalError::Garbage { name: config.name.clone(), line, reason }
}

impl Metric for ExternalScorer {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn unit(&self) -> &str {
        &self.hello.primary
    }

    fn better(&self) -> Direction {
        if self.hello.higher_is_better { Direction::Higher } else { Direction::Lower }
    }

    fn description(&self) -> String {
        let Hello { name, version, primary, .. } = &self.hello;
        format!("`{primary}` of the external scorer {name} {version}")
    }

    fn preprocessing(&self) -> String {
        "the scorer's own, of the image as a PNG file".into()
    }

    fn needs(&self) -> Needs {
        let (prompts, references) = (self.hello.needs("prompt"), self.hello.needs("refs"));
        Needs { prompts, references, others: false }
    }

    fn score(&self, images: &[RgbImage], context: &Context<'_>) -> Result<Vec<f64>, MetricError> {
        let other = |error: ExternalError| MetricError::Other(Box::new(error));
        let scores = self.score_each(images, context).map_err(other)?;
        let score = |(image, score): (usize, Result<f64, String>)| {
            let name = self.config.name.clone();
            score.map_err(|reason| other(ExternalError::Item { name, image, reason }))
        };
        scores.into_iter().enumerate().map(score).collect()
    }
}
