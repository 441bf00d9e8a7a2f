//! One run of the program, finished or still going on.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A finished run.
#[derive(Debug)]
pub struct Run {
    code: Option<i32>,
    /// Results.
    pub stdout: String,
    /// Messages.
    pub stderr: String,
}

impl Run {
    /// Runs a command to its end.
    pub fn of(mut command: Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("the program starts");
        let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Self { code: status.code(), stdout, stderr }
    }

    /// # Panics
    /// If it failed.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// # Panics
    /// If it ended with another code, or standard error lacks one of these texts.
    #[track_caller]
    pub fn fails(self, code: i32, texts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        for text in texts {
            assert!(self.stderr.contains(text), "`{text}` is not in:\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in:\n{}", self.stdout))
    }
}

/// A run that goes on in the background; it is killed when dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts a command.
    pub fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("the program starts"))
    }

    /// Waits until a file is there and not empty.
    ///
    /// # Panics
    /// If the program ends before, or it takes more than two minutes.
    #[track_caller]
    pub fn wait_for(&mut self, file: &Path) {
        let start = Instant::now();
        while file.metadata().map_or(0, |data| data.len()) == 0 {
            let ended = self.0.try_wait().unwrap();
            let file = file.display();
            assert!(ended.is_none(), "it ended without {file}: {}", read(self.0.stderr.take()));
            assert!(start.elapsed() < Duration::from_secs(120), "{file} does not come");
            sleep(Duration::from_millis(2));
        }
    }

    /// Waits until a line of its messages begins with a text.
    ///
    /// # Panics
    /// If the program ends before.
    #[track_caller]
    pub fn wait_for_message(&mut self, text: &str) {
        let stderr = self.0.stderr.as_mut().expect("it was not read before");
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !line.starts_with(text.as_bytes()) {
            if line.ends_with(b"\n") {
                line.clear();
            }
            assert_eq!(stderr.read(&mut byte).unwrap(), 1, "it ended without `{text}`");
            line.push(byte[0]);
        }
    }

    /// Kills it: SIGKILL, which it cannot notice.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Kills it after a while. Returns whether it was still running.
    #[cfg(unix)]
    pub fn kill_after(mut self, time: Duration) -> bool {
        sleep(time);
        self.0.kill().unwrap();
        // A code belongs to a run that has ended by itself.
        self.0.wait().unwrap().code().is_none()
    }

    /// Whether it has not ended yet.
    #[cfg(unix)]
    pub fn goes_on(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Run {
        let stderr = read(self.0.stderr.take());
        let stdout = read(self.0.stdout.take());
        Run { code: self.0.wait().unwrap().code(), stdout, stderr }
    }

    /// Ctrl-C, then waits for its end.
    #[cfg(unix)]
    pub fn interrupt(self) -> Run {
        self.signal("INT")
    }

    /// Sends a signal, then waits for its end.
    #[cfg(unix)]
    pub fn signal(self, name: &str) -> Run {
        let kill = format!("kill -{name} {}", self.0.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        self.finish()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(pipe: Option<impl Read>) -> String {
    let mut text = String::new();
    pipe.expect("it was not read before").read_to_string(&mut text).unwrap();
    text
}
