//! `segue deploy --list`: the releases, newest first.

use std::io::Write as _;

use serde::Serialize;

use super::ending::{Ending, Form, Step};
use super::image::shown_in_list;
use super::plan::NEVER_SERVED;
use super::{Deploy, Never};
use crate::sys::errno_text;

/// A release, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Row<'a> {
    release: &'a str,
    made: String,
    sha256: &'a str,
    bytes: u64,
    is_current: bool,
    /// The generation that runs it.
    serves: Option<u64>,
    /// Why it is none to go back to; null if it is one.
    unproven: Option<String>,
    /// The ID of the image that it runs; null if it is none of an image.
    image: Option<String>,
}

impl Deploy {
    pub(super) fn list(&mut self) -> Step<Never> {
        self.ask();
        let current = self.store.current()?.release;
        let releases = self.store.releases();
        let rows: Vec<Row<'_>> = releases
            .iter()
            .map(|release| {
                let generation = self.look.incumbent().filter(|_| self.look.serves());
                let serves = generation.filter(|_| self.look.is_release(release));
                let unproven = self.store.is_bad(release).then(|| self.store.mark(release));
                Row {
                    release,
                    made: made(release),
                    sha256: release.rsplit('-').next().unwrap_or_default(),
                    bytes: self.store.size(release, &self.name),
                    is_current: current.as_ref() == Some(release),
                    serves: serves.map(|generation| generation.generation),
                    image: self
                        .keeper(release)
                        .map(|keeper| shown_in_list(&keeper).to_owned()),
                    unproven: unproven.map(|mark| {
                        if mark.is_empty() {
                            NEVER_SERVED.to_owned()
                        } else {
                            mark
                        }
                    }),
                }
            })
            .collect();
        let text = match self.wanted.form {
            Form::Json => serde_json::to_string(&rows).unwrap_or_default() + "\n",
            Form::Words => rows.iter().map(Row::line).collect(),
        };
        let written = std::io::stdout().write_all(text.as_bytes());
        match written {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(format!("write to stdout: {}", errno_text(error)).into())
            }
            Ok(()) | Err(_) => Err(Ending::listed()),
        }
    }
}

impl Row<'_> {
    fn line(&self) -> String {
        let mut notes = Vec::new();
        if self.is_current {
            notes.push("current".to_owned());
        }
        if let Some(generation) = self.serves {
            notes.push(format!("serves (generation {generation})"));
        } else if let Some(why) = &self.unproven {
            notes.push(crate::protocol::one_line(why, 1000));
        }
        if let Some(image) = &self.image {
            notes.push(format!("image {image}"));
        }
        format!(
            "{:<28}  {}  {}  {:>10} bytes  {}\n",
            self.release,
            self.made,
            self.sha256,
            self.bytes,
            notes.join(", ")
        )
    }
}

/// The time in a name: `2026-11-25 17:32:02 UTC`.
fn made(release: &str) -> String {
    let (day, rest) = release.split_once('-').unwrap_or((release, ""));
    let time = rest.split(['.', '-']).next().unwrap_or_default();
    let part = |text: &str, from: usize, to: usize| {
        text.get(from..to.min(text.len())).unwrap_or_default().to_owned()
    };
    format!(
        "{}-{}-{} {}:{}:{} UTC",
        part(day, 0, 4),
        part(day, 4, 6),
        part(day, 6, 8),
        part(time, 0, 2),
        part(time, 2, 4),
        part(time, 4, 6)
    )
}
