//! What is to be done, given what is there: pure decisions, without a file or a clock.

use crate::protocol::{CauseCode, LastReload, Outcome, Probation, State, Status, Until};

/// What `.unproven` says in a release that served until somebody rolled back from it.
pub(super) const ROLLED_BACK: &str = "rolled back from";

/// The mark of a release that was made and has not been tried yet, as far as anybody knows.
pub(super) const NEVER_SERVED: &str = "never served";

/// The mark of a release that `current` has led to without a reload: a service may have started it while no deploy looked.
pub(super) const NOT_SEEN: &str = "not seen";

/// How often a reload is asked for that a supervisor did not take, for it was killed.
pub(super) const RELOAD_TRIES: u32 = 3;

/// Whether this is the name of a release: what has another form is none of ours and is left alone.
pub(super) fn is_release(name: &str) -> bool {
    let sign = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'.' | b'-');
    name.starts_with(|first: char| first.is_ascii_digit()) && name.contains('-') && name.bytes().all(sign)
}

/// A name behind that of every other release, even if two are made in a second or the clock was set back.
///
/// `stamp` is the time in UTC as `YYYYMMDD-HHMMSS`, `newest` the last of the releases.
pub(super) fn release_name(stamp: &str, newest: Option<&str>, sha256: &str) -> Result<String, String> {
    let newest = newest
        .and_then(|name| name.rsplit_once('-'))
        .map(|(stamp, _)| stamp);
    let stamp = match newest {
        Some(newest) if newest >= stamp => {
            let counted = newest.rsplit_once('.').filter(|(_, count)| count.len() == 2);
            let (stamp, count) =
                match counted.and_then(|(stamp, count)| Some((stamp, count.parse::<u32>().ok()?))) {
                    Some((stamp, count)) => (stamp, count + 1),
                    None => (newest, 1),
                };
            if count > 99 {
                return Err(format!(
                    "name the release: too many since {stamp}; is the clock right?"
                ));
            }
            format!("{stamp}.{count:02}")
        }
        Some(_) | None => stamp.to_owned(),
    };
    Ok(format!("{stamp}-{}", sha256.get(..8).unwrap_or(sha256)))
}

/// The newest proven release before the current one, which itself need not be one. `releases` has the newest first.
pub(super) fn previous<'a>(
    releases: &'a [String],
    current: Option<&str>,
    is_proven: impl Fn(&str) -> bool,
) -> Option<&'a str> {
    let mut older = releases.iter().map(String::as_str);
    older.by_ref().find(|name| Some(*name) == current)?;
    older.find(|name| is_proven(name))
}

/// The releases that are too old, the newest first. The current one and the one before stay in any case.
pub(super) fn too_old<'a>(
    releases: &'a [String],
    keep: usize,
    current: Option<&str>,
    previous: Option<&str>,
) -> Vec<&'a str> {
    let stays = |name: &str| Some(name) == current || Some(name) == previous;
    let old = releases.iter().map(String::as_str).skip(keep);
    old.filter(|name| !stays(name)).collect()
}

/// Who serves when a flip without an outcome is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server<'a> {
    /// No supervisor answers.
    NoSupervisor,
    /// This release serves.
    Release(&'a str),
    /// The same generation of the same supervisor as before the flip, from no release that is known.
    SameAsBefore,
    /// Something else, or nobody.
    Unknown,
}

/// A flip without an outcome, and what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenFlip<'a> {
    /// The release that it was to lead to.
    pub(super) to: &'a str,
    /// Whether it led anywhere before.
    pub(super) led_somewhere: bool,
    /// Whether `current` leads there now.
    pub(super) is_flipped: bool,
    pub(super) server: Server<'a>,
    /// Of the one who serves.
    pub(super) probation: Option<Probation>,
}

/// What becomes of a flip without an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution<'a> {
    /// Nobody can tell whether it has served: `current` stays.
    NotKnown,
    /// It serves: `current` leads there. The journal stays until its probation has passed.
    Serves { is_proven: bool },
    /// It had not been flipped, or had been flipped back.
    NotFlipped,
    /// Another release serves: `current` leads there again.
    BackTo(&'a str),
    /// What served before serves: `current` leads again where it led.
    BackToBefore,
    /// Who serves cannot be seen: `current` stays.
    NotSeen,
}

/// Resolve a flip that a deploy has left open.
pub(super) fn resolve<'a>(flip: OpenFlip<'a>) -> Resolution<'a> {
    match flip.server {
        Server::NoSupervisor => Resolution::NotKnown,
        Server::Release(release) if release == flip.to => Resolution::Serves {
            is_proven: flip.probation == Some(Probation::Passed),
        },
        Server::Release(_) | Server::SameAsBefore | Server::Unknown if !flip.is_flipped => {
            Resolution::NotFlipped
        }
        Server::Release(release) => Resolution::BackTo(release),
        Server::SameAsBefore if flip.led_somewhere => Resolution::BackToBefore,
        Server::SameAsBefore | Server::Unknown => Resolution::NotSeen,
    }
}

/// How a reload ended, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Course {
    pub(super) outcome: Outcome,
    pub(super) probation: Option<Probation>,
    pub(super) generation: Option<u64>,
    pub(super) cause: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) last_lines: Vec<String>,
}

impl Course {
    /// It failed before anybody noticed.
    pub(super) fn failed(reason: String) -> Self {
        Self {
            outcome: Outcome::Failed,
            probation: Some(Probation::NotReached),
            generation: None,
            cause: None,
            reason: Some(reason),
            last_lines: Vec::new(),
        }
    }

    /// The failure in one line.
    pub(super) fn failure(&self) -> String {
        let generation = self
            .generation
            .map_or_else(String::new, |number| format!("generation {number}: "));
        let reason = self.reason.as_deref().unwrap_or("no reason was told");
        match (self.outcome, self.probation) {
            (Outcome::RolledBack, _) => format!("rolled back: {generation}{reason}"),
            (Outcome::Failed, Some(Probation::NotPassed)) => {
                format!("{generation}{reason}; no version has passed probation yet")
            }
            (Outcome::Failed | Outcome::Ok, _) => format!("{generation}{reason}"),
        }
    }
}

/// What is done when the outcome of a reload is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The release serves, if what serves runs it.
    Succeed,
    /// Segue has no good version to go back to, and starts the new one again and again. We have.
    ReturnToOld,
    /// Another version serves: `current` leads there.
    TakeBack,
}

pub(super) fn next(course: &Course) -> Next {
    match (course.outcome, course.probation) {
        (Outcome::Ok, _) => Next::Succeed,
        (Outcome::Failed, Some(Probation::NotPassed)) => Next::ReturnToOld,
        (Outcome::Failed | Outcome::RolledBack, _) => Next::TakeBack,
    }
}

/// A reload whose outcome nobody told, since the supervisor was killed: what was known before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// `last_reload.at` of the status before the flip.
    pub(super) last_before: Option<String>,
    /// The generation that the reload was told to bring, if it was told.
    pub(super) generation: Option<u64>,
    /// Restarts after crashes, as few as were seen.
    pub(super) restarts: u64,
    /// How far it must have come.
    pub(super) until: Until,
    /// How often it was asked for.
    pub(super) tries: u32,
}

/// Who serves now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Incumbent {
    pub(super) generation: Option<u64>,
    pub(super) probation: Option<Probation>,
    /// What it runs.
    pub(super) version: Version,
}

/// What the incumbent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// The release: its binary or its directory lies in it.
    Release,
    /// What `current` leads to: an interpreter that was started since the flip.
    ThroughCurrent,
    /// Something else.
    Other,
}

/// What a status tells of the reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    NotYet,
    Came(Course),
    /// Nobody has taken it: it is asked for again.
    AskAgain,
}

/// What has become of a reload, by the status of a supervisor that answers.
pub(super) fn judge(status: &Status, incumbent: &Incumbent, asked: &Asked) -> Judgement {
    match status.state {
        State::HandingOff | State::Starting | State::Stopping => return Judgement::NotYet,
        State::Serving | State::BackingOff => {}
    }
    let last = status.last_reload.as_ref();
    let news = last.filter(|last| asked.last_before.as_ref() != Some(&last.at));
    let failure = news.filter(|last| last.outcome != Outcome::Ok);
    if let Some(failure) = failure
        && incumbent.version != Version::Release
        && failure.generation != incumbent.generation
    {
        return Judgement::Came(Course {
            outcome: failure.outcome,
            probation: Some(Probation::NotReached),
            generation: failure.generation,
            cause: failure.cause.map(CauseCode::word),
            reason: failure.reason.clone(),
            last_lines: failure.words.last_lines.clone(),
        });
    }
    match (incumbent.version, news) {
        (Version::Release | Version::ThroughCurrent, _) => of_release(status, incumbent, asked, failure),
        // It went well, and what serves is no release of ours.
        (Version::Other, Some(news)) if news.generation.is_some() && news.generation == asked.generation => {
            Judgement::Came(Course {
                outcome: Outcome::Ok,
                ..of(incumbent)
            })
        }
        (Version::Other, Some(news)) => {
            let number = news
                .generation
                .map_or_else(String::new, |number| number.to_string());
            Judgement::Came(Course::failed(format!(
                "another reload came between: generation {number} took over"
            )))
        }
        (Version::Other, None) if !status.serves() => Judgement::NotYet,
        (Version::Other, None) if asked.tries < RELOAD_TRIES => Judgement::AskAgain,
        (Version::Other, None) => Judgement::Came(Course::failed(format!(
            "no supervisor has taken the reload, {} times",
            asked.tries
        ))),
    }
}

fn of(incumbent: &Incumbent) -> Course {
    Course {
        outcome: Outcome::Ok,
        probation: incumbent.probation,
        generation: incumbent.generation,
        cause: None,
        reason: None,
        last_lines: Vec::new(),
    }
}

/// The release serves, or crashes in its probation with nothing to roll back to.
fn of_release(
    status: &Status,
    incumbent: &Incumbent,
    asked: &Asked,
    failure: Option<&LastReload>,
) -> Judgement {
    if incumbent.probation == Some(Probation::Running)
        && let Some(reason) = crash(status, incumbent, asked)
    {
        return Judgement::Came(Course {
            outcome: Outcome::Failed,
            probation: Some(Probation::NotPassed),
            reason: Some(reason),
            last_lines: failure.map_or_else(Vec::new, |last| last.words.last_lines.clone()),
            ..of(incumbent)
        });
    }
    let far_enough = match asked.until {
        Until::Accepted | Until::Takeover | Until::Drained => true,
        Until::Settled => incumbent.probation == Some(Probation::Passed),
    };
    if status.serves() && far_enough {
        Judgement::Came(of(incumbent))
    } else {
        Judgement::NotYet
    }
}

fn crash(status: &Status, incumbent: &Incumbent, asked: &Asked) -> Option<String> {
    let told = status.last_reload.as_ref();
    let told = told.filter(|last| {
        last.outcome == Outcome::Failed
            && last.generation.is_some()
            && last.generation == incumbent.generation
    });
    if let Some(last) = told {
        return Some(last.reason.clone().unwrap_or_default());
    }
    (status.state == State::BackingOff || status.restarts > asked.restarts)
        .then(|| "it crashed, and is started again".to_owned())
}

#[cfg(test)]
mod tests;
