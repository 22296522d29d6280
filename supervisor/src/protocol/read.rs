//! How the messages are read out of JSON; how they are written is derived.

use super::json::{Json, Object, Unfit};
use super::{
    Binary, CauseCode, Change, Generation, LastCrash, LastReload, LastWords, Listener, Outcome, Probation,
    Reply, Request, Role, Serving, State, Status, StderrKind, StderrPlace, Until, Verdict, Worker,
    WorkerState,
};
use serde::de::Error as _;

const UNTIL: [(&str, Until); 4] = [
    ("accepted", Until::Accepted),
    ("takeover", Until::Takeover),
    ("settled", Until::Settled),
    ("drained", Until::Drained),
];

const STATES: [(&str, State); 5] = [
    ("starting", State::Starting),
    ("serving", State::Serving),
    ("handing-off", State::HandingOff),
    ("backing-off", State::BackingOff),
    ("stopping", State::Stopping),
];

const ROLES: [(&str, Role); 3] = [
    ("candidate", Role::Candidate),
    ("incumbent", Role::Incumbent),
    ("retired", Role::Retired),
];

const WORKER_STATES: [(&str, WorkerState); 3] = [
    ("starting", WorkerState::Starting),
    ("serving", WorkerState::Serving),
    ("draining", WorkerState::Draining),
];

const OUTCOMES: [(&str, Outcome); 3] = [
    ("ok", Outcome::Ok),
    ("failed", Outcome::Failed),
    ("rolled-back", Outcome::RolledBack),
];

/// A constructor of a change.
type MakeChange = fn(u16) -> Change;

const CHANGES: [(&str, MakeChange); 3] = [
    ("set", Change::Set),
    ("add", Change::Add),
    ("remove", Change::Remove),
];

/// What a request is, by its word.
#[derive(Clone, Copy)]
enum Kind {
    Reload,
    Status,
    Stop,
    Workers,
    Upgrade,
}

const REQUESTS: [(&str, Kind); 5] = [
    ("reload", Kind::Reload),
    ("status", Kind::Status),
    ("stop", Kind::Stop),
    ("workers", Kind::Workers),
    ("upgrade", Kind::Upgrade),
];

/// What a reply is, by its word.
#[derive(Clone, Copy)]
enum Answer {
    Progress,
    Done,
    Failed,
    Status,
    Refused,
}

const REPLIES: [(&str, Answer); 5] = [
    ("progress", Answer::Progress),
    ("done", Answer::Done),
    ("failed", Answer::Failed),
    ("status", Answer::Status),
    ("refused", Answer::Refused),
];

/// Strict: an unknown key is refused.
pub(super) fn request(line: &[u8]) -> Result<Request, Unfit> {
    let mut object = serde_json::from_slice::<Json>(line)?.object()?;
    let request = match object.word("request", &REQUESTS)? {
        Kind::Reload => Request::Reload {
            until: until(&mut object)?,
        },
        Kind::Status => Request::Status,
        Kind::Stop => Request::Stop,
        Kind::Workers => Request::Workers {
            change: change(object.object("change")?)?,
        },
        Kind::Upgrade => Request::Upgrade,
    };
    object.end()?;
    Ok(request)
}

fn until(object: &mut Object) -> Result<Until, Unfit> {
    if object.has("until") {
        object.word("until", &UNTIL)
    } else {
        Ok(Until::default())
    }
}

fn change(mut object: Object) -> Result<Change, Unfit> {
    let make = CHANGES.iter().find(|(word, _)| object.has(word));
    let (word, make) = make.ok_or_else(|| Unfit::custom("`change`: expected one of set, add, remove"))?;
    let count: u16 = object.number(word)?;
    if count == 0 {
        return Err(Unfit::custom(
            "the number of workers to set, add or remove must be at least 1",
        ));
    }
    object.end()?;
    Ok(make(count))
}

/// Lenient: unknown keys may stand in it.
pub(super) fn reply(line: &[u8]) -> Result<Reply, Unfit> {
    let mut object = serde_json::from_slice::<Json>(line)?.object()?;
    Ok(match object.word("reply", &REPLIES)? {
        Answer::Progress => Reply::Progress {
            message: object.text("message")?,
        },
        Answer::Done => Reply::Done {
            message: object.text("message")?,
            serving: serving(&mut object)?,
            duration_ms: object.number_or_none("duration_ms")?,
            verdict: verdict(&mut object)?,
        },
        Answer::Failed => Reply::Failed {
            message: object.text("message")?,
            serving: serving(&mut object)?,
            verdict: verdict(&mut object)?,
        },
        Answer::Status => Reply::Status(Box::new(status(&mut object)?)),
        Answer::Refused => Reply::Refused {
            message: object.text("message")?,
        },
    })
}

fn serving(object: &mut Object) -> Result<Option<Serving>, Unfit> {
    let Some(serving) = object.value("serving") else {
        return Ok(None);
    };
    let mut serving = serving.object()?;
    Ok(Some(Serving {
        generation: serving.number("generation")?,
        pids: serving.numbers("pids")?,
    }))
}

/// The codes, where the answer is that of a reload.
fn verdict(object: &mut Object) -> Result<Option<Verdict>, Unfit> {
    if !object.has("outcome") {
        return Ok(None);
    }
    Ok(Some(Verdict {
        outcome: object.word("outcome", &OUTCOMES)?,
        probation: probation(object)?,
        generation: object.number_or_none("generation")?,
        cause: cause(object)?,
        reason: object.text_or_none("reason")?,
        words: last_words(object)?,
    }))
}

/// As [`super::LastWords::to_text`] writes them.
pub(super) fn last_words_of(text: &str) -> Result<LastWords, Unfit> {
    last_words(&mut serde_json::from_str::<Json>(text)?.object()?)
}

fn last_words(object: &mut Object) -> Result<LastWords, Unfit> {
    let place = |value: Json| {
        let mut place = value.object()?;
        Ok(StderrPlace {
            kind: place.word("kind", &StderrKind::ALL.map(|kind| (kind.word(), kind)))?,
            path: place.text_or_none("path")?,
            identifier: place.text_or_none("identifier")?,
            pid: place.number_or_none("pid")?,
            since: place.text_or_none("since")?,
        })
    };
    Ok(LastWords {
        last_lines: object.texts_if_any("last_lines")?,
        stderr: object.value("stderr").map(place).transpose()?,
    })
}

fn probation(object: &mut Object) -> Result<Probation, Unfit> {
    object.word(
        "probation",
        &Probation::ALL.map(|probation| (probation.word(), probation)),
    )
}

fn cause(object: &mut Object) -> Result<Option<CauseCode>, Unfit> {
    object.word_or_none("cause", &CauseCode::ALL.map(|cause| (cause.word(), cause)))
}

fn status(object: &mut Object) -> Result<Status, Unfit> {
    Ok(Status {
        schema: object.number("schema")?,
        name: object.text("name")?,
        pid: object.number("pid")?,
        since: object.text("since")?,
        version: object.text("version")?,
        state: object.word("state", &STATES)?,
        generation: object.number_or_none("generation")?,
        listeners: each(object.list("listeners")?, listener)?,
        generations: each(object.list("generations")?, generation)?,
        last_reload: object.value("last_reload").map(last_reload).transpose()?,
        last_crash: object.value("last_crash").map(last_crash).transpose()?,
        restarts: object.number("restarts")?,
        rollbacks: object.number("rollbacks")?,
        oom_kills: object.number_or_none("oom_kills")?.unwrap_or_default(),
    })
}

fn each<T>(list: Vec<Json>, read: fn(&mut Object) -> Result<T, Unfit>) -> Result<Vec<T>, Unfit> {
    let mut all = Vec::with_capacity(list.len());
    for item in list {
        all.push(read(&mut item.object()?)?);
    }
    Ok(all)
}

fn listener(object: &mut Object) -> Result<Listener, Unfit> {
    Ok(Listener {
        name: object.text("name")?,
        address: object.text("address")?,
        backlog: object.number_or_none("backlog")?,
        queued: object.number_or_none("queued")?,
        trouble: object.text_or_none("trouble")?,
        inode: object.number_or_none("inode")?,
    })
}

fn generation(object: &mut Object) -> Result<Generation, Unfit> {
    Ok(Generation {
        generation: object.number("generation")?,
        role: object.word("role", &ROLES)?,
        since: object.text("since")?,
        probation: probation(object)?,
        workers: each(object.list("workers")?, worker)?,
        strays: object.number_or_none("strays")?.unwrap_or_default(),
        binary: binary(&mut object.object("binary")?)?,
        replaced: object.text_or_none("replaced")?,
    })
}

fn worker(object: &mut Object) -> Result<Worker, Unfit> {
    Ok(Worker {
        pid: object.number("pid")?,
        state: object.word("state", &WORKER_STATES)?,
        since: object.text("since")?,
        connections: object.number_or_none("connections")?,
        status: object.text_or_none("status")?,
    })
}

fn binary(object: &mut Object) -> Result<Binary, Unfit> {
    Ok(Binary {
        path: object.text("path")?,
        inode: object.number("inode")?,
        sha256: object.text_or_none("sha256")?,
    })
}

fn last_crash(value: Json) -> Result<LastCrash, Unfit> {
    let mut object = value.object()?;
    Ok(LastCrash {
        generation: object.number("generation")?,
        worker: object.number("worker")?,
        pid: object.number_or_none("pid")?,
        reason: object.text("reason")?,
        at: object.text("at")?,
        words: last_words(&mut object)?,
    })
}

fn last_reload(value: Json) -> Result<LastReload, Unfit> {
    let mut object = value.object()?;
    Ok(LastReload {
        outcome: object.word("outcome", &OUTCOMES)?,
        cause: cause(&mut object)?,
        reason: object.text_or_none("reason")?,
        duration_ms: object.number("duration_ms")?,
        generation: object.number_or_none("generation")?,
        at: object.text("at")?,
        words: last_words(&mut object)?,
    })
}
