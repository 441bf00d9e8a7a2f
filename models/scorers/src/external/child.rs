//! A child process that is spoken to in lines, and never waited for without an end.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The longest line that is read.
const LINE: u64 = 1 << 20;

/// How much of the end of a log is kept.
const LOG: usize = 2000;

/// How long is waited for what usually happens at once.
const A_MOMENT: Duration = Duration::from_millis(500);

/// How long a child may take to end after its input has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What comes from a child.
#[derive(Debug)]
pub(super) enum Event {
    Line(String),
    /// More than a megabyte without the end of a line; its start.
    TooLong(String),
    /// Its output has ended.
    Closed,
    /// Nothing came in time.
    Timeout,
}

/// A running child.
#[derive(Debug)]
pub(super) struct Lines {
    child: Child,
    /// Lines on their way in; a thread of their own writes them, so that a child that does not read them
    /// holds nobody up.
    input: Option<Sender<String>>,
    output: Receiver<Event>,
    log: Arc<Mutex<Vec<u8>>>,
    logging: JoinHandle<()>,
}

impl Lines {
    /// Starts a program.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(command: &[String]) -> std::io::Result<Self> {
        let (program, arguments) = command.split_first().expect("a command");
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().expect("piped");
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");

        let (input, lines) = channel::<String>();
        // All three end when the child does, as its pipes break.
        thread::spawn(move || {
            for line in lines {
                if writeln!(stdin, "{line}").and_then(|()| stdin.flush()).is_err() {
                    break;
                }
            }
        });
        // Bounded, so that a child that prints without end is not kept in memory.
        let (sender, output) = sync_channel(64);
        thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            while let Some(event) = next_line(&mut reader) {
                if sender.send(event).is_err() {
                    return;
                }
            }
            let _ = sender.send(Event::Closed);
        });
        let log = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Arc::clone(&log);
        let logging = thread::spawn(move || keep_end(stderr, &kept));
        Ok(Self { child, input: Some(input), output, log, logging })
    }

    /// Sends a line, or not if the child has ended, which the next event tells.
    pub(super) fn send(&self, line: String) {
        if let Some(input) = &self.input {
            let _ = input.send(line);
        }
    }

    /// The next line, if it comes in time.
    pub(super) fn next(&self, timeout: Duration) -> Event {
        match self.output.recv_timeout(timeout) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => Event::Timeout,
            Err(RecvTimeoutError::Disconnected) => Event::Closed,
        }
    }

    /// Ends the child and says how it ended, and the end of its log.
    pub(super) fn stop(&mut self) -> (String, String) {
        // One that has closed its output usually ends by itself.
        let status = self.wait(A_MOMENT).unwrap_or_else(|| {
            let _ = self.child.kill();
            let _ = self.child.wait();
            "it was stopped".into()
        });
        // A child of the child may hold the log open.
        let start = Instant::now();
        while !self.logging.is_finished() && start.elapsed() < A_MOMENT {
            thread::sleep(Duration::from_millis(10));
        }
        let log = self.log.lock().map_or_else(|_| Vec::new(), |log| log.clone());
        (status, String::from_utf8_lossy(&log).into_owned())
    }

    fn wait(&mut self, limit: Duration) -> Option<String> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status.to_string());
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Lines {
    /// Ends the child's input, and the child if it does not end by itself.
    fn drop(&mut self) {
        self.input = None;
        if self.wait(LAST_WORDS).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The next line without its end; `None` at the end of the output.
fn next_line(reader: &mut impl BufRead) -> Option<Event> {
    let mut line = Vec::new();
    let read = reader.by_ref().take(LINE).read_until(b'\n', &mut line).ok()?;
    if read == 0 {
        return None;
    }
    let ended = line.ends_with(b"\n");
    let text = String::from_utf8_lossy(&line).trim().to_string();
    match ended || (read as u64) < LINE {
        true => Some(Event::Line(text)),
        false => Some(Event::TooLong(text.chars().take(200).collect())),
    }
}

/// Reads to the end, and keeps the last bytes.
fn keep_end(mut stderr: impl Read, log: &Mutex<Vec<u8>>) {
    let mut part = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut part) {
        let Ok(mut log) = log.lock() else { return };
        log.extend(&part[..read]);
        let excess = log.len().saturating_sub(LOG);
        log.drain(..excess);
    }
}
