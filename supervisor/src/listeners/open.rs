//! From what is asked for and what is there to the set of listeners: which sockets stand in, which stay, which are made.
//!
//! All or nothing: what is new is bound first, then options of kept sockets change, and each step takes back the ones
//! before it when it fails. Nothing of `current` is closed here; a removed listener goes when its last generation goes.

use std::net::SocketAddr;
use std::rc::Rc;

use std::collections::{BTreeSet, HashSet};

use super::bind::{self, Bound, Wanted, absolute, kind_of};
use super::late::{self, Turn};
use super::local::{BoundTo, Local, SocketKind};
use super::resolve::{self, Lookup, Owner};
use super::slots;
use super::socket::Source;
use super::switch::{self, Found, Taken};
use super::{Inherited, ListenError, Listener, holder};
use crate::address::{self, Host, Key, ListenSpec, SocketOptions, UnixPath};
use crate::state::Guard;

/// The listeners of one configuration, in the order in which an app gets them from fd 3 on, and what to tell about them.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Inherited sockets that no spec asked for come first, in the order in which they were given; then one entry for
    /// each spec, in its order, be it a socket of ours or the inherited ones that stand in for it.
    pub(crate) listeners: Vec<Rc<Listener>>,
    /// One line each: a capped backlog, a host with several addresses, options that were not applied.
    pub(crate) warnings: Vec<String>,
}

/// Where the socket of a spec comes from.
enum Origin<'a> {
    /// Inherited sockets stand in; of the spec's options only `non-blocking` counts for them.
    StandsAside(Vec<Rc<Listener>>),
    /// A socket of ours is there already.
    Kept(Rc<Listener>, Owner),
    /// It is there, but an app has killed it: another is bound in its place, or it is kept as it is.
    Dead(Rc<Listener>, Wanted<'a>),
    /// It has to be made.
    New(Wanted<'a>),
}

/// Opens what the specs ask for.
///
/// * A socket in `current` with the same address is kept, under a new name and with other options if these changed.
/// * A spec stands aside if an inherited socket has its explicit name or its address; at a reload these are the
///   inherited ones in `current`, which are always kept.
/// * A Unix socket of ours that an app has killed is bound afresh. If that cannot be done it is kept, with a warning: a
///   version that treats its listeners well must be able to come.
/// * Everything else is bound. Port 0 asks for a new port only if `current` has no socket for that spec.
///
/// After a reload that failed the options of kept sockets are those of the failed set until
/// [`Listener::restore_flags`] of the old set is called.
///
/// `taken`: which slots are in use.
///
/// # Errors
/// One line. Then nothing has changed: no socket more, no option changed, and `inherited` still has its sockets.
pub(crate) fn open(
    specs: &[ListenSpec],
    current: &[Rc<Listener>],
    inherited: &mut Inherited,
    lookup: Lookup,
    taken: Taken,
) -> Result<Opened, ListenError> {
    check_unique(specs)?;
    let held: Vec<Rc<Listener>> = current
        .iter()
        .filter(|old| old.is_inherited())
        .chain(&inherited.listeners)
        .cloned()
        .collect();
    // Slots of ours beside one that was given go where that one goes.
    let is_lent = |one: &Rc<Listener>| held.iter().any(|given| one.goes_with(given));
    let (lent, mut ours): (Vec<Rc<Listener>>, Vec<Rc<Listener>>) = current
        .iter()
        .filter(|old| is_ours(old))
        .cloned()
        .partition(is_lent);
    let mut warnings = Vec::new();
    let mut origins = Vec::new();
    for spec in specs {
        let origin = origin(spec, specs, &held, &mut ours, lookup, &mut warnings)?;
        let beside = match &origin {
            Origin::Kept(first, _) => take_beside(first, &mut ours),
            Origin::StandsAside(given) => {
                let is_beside = |one: &&Rc<Listener>| given.iter().any(|given| one.goes_with(given));
                lent.iter().filter(is_beside).cloned().collect()
            }
            Origin::Dead(..) | Origin::New(_) => Vec::new(),
        };
        origins.push((origin, beside));
    }
    check_changes(specs, &origins, current, lookup, taken)?;
    let names = address::names(specs, |name| held.iter().any(|one| one.name() == name));
    let mut known: Vec<Rc<Listener>> = held.iter().chain(current).cloned().collect();
    let mut sets = Vec::new();
    for ((spec, origin), name) in specs.iter().zip(origins).zip(names) {
        let (origin, beside) = origin;
        let set = realize(spec, origin, beside, name, &known, (lookup, taken), &mut warnings)?;
        known.extend(set.iter().cloned());
        sets.push(set);
    }
    change_options(&sets, &mut warnings)?;
    // No app is given those that a supervisor before us has left, but for a spec.
    let is_unasked = |one: &&Rc<Listener>| held.iter().any(|given| one.is_of_group_of(given));
    inherited.listeners.clear();
    Ok(Opened {
        listeners: fd_order(held.iter().chain(lent.iter().filter(is_unasked)), sets),
        warnings,
    })
}

fn is_ours(listener: &Listener) -> bool {
    match listener.socket.source() {
        Source::Spec(_) => true,
        Source::Inherited { .. } | Source::Probe => false,
    }
}

/// Before anything is told to the kernel: what cannot change while a socket is open, and what would leave clients alone.
fn check_changes(
    specs: &[ListenSpec],
    origins: &[(Origin<'_>, Vec<Rc<Listener>>)],
    current: &[Rc<Listener>],
    lookup: Lookup,
    taken: Taken,
) -> Result<(), ListenError> {
    let mut found = Vec::new();
    for (spec, (origin, beside)) in specs.iter().zip(origins) {
        let mut open = beside.clone();
        match origin {
            Origin::Kept(first, _) => {
                open.push(Rc::clone(first));
                for one in &open {
                    let possible = one.socket.may_become(&spec.options);
                    possible.map_err(|cause| ListenError::at(one.address_text(), cause))?;
                }
            }
            Origin::StandsAside(held) => open.extend(held.iter().cloned()),
            Origin::Dead(..) | Origin::New(_) => {}
        }
        found.push(Found { spec, open });
    }
    match lookup {
        Lookup::Refused => switch::check(&found, current, taken.shared),
        // No version lives that has a slot.
        Lookup::AtStart => Ok(()),
    }
}

/// The same address twice is a mistake that only one of two would survive. Port 0 may be asked for often, and with `reuse-port`
/// an address may be, too.
fn check_unique(specs: &[ListenSpec]) -> Result<(), ListenError> {
    let mut seen = HashSet::with_capacity(specs.len());
    let twice = specs
        .iter()
        .find(|spec| !seen.insert(&spec.address) && !is_shareable(spec));
    match twice {
        Some(spec) => Err(ListenError::at(&spec.address, "the address is given twice")),
        None => Ok(()),
    }
}

fn is_shareable(spec: &ListenSpec) -> bool {
    spec.options.flag(Key::ReusePort) == Some(true)
        || spec.address.host_port().is_some_and(|place| place.port == 0)
}

/// Where the socket of one of these specs comes from.
fn origin<'a>(
    spec: &'a ListenSpec,
    specs: &[ListenSpec],
    held: &[Rc<Listener>],
    ours: &mut Vec<Rc<Listener>>,
    lookup: Lookup,
    warnings: &mut Vec<String>,
) -> Result<Origin<'a>, ListenError> {
    let by_name: Vec<_> = held
        .iter()
        .filter(|one| spec.name.as_deref() == Some(one.name()))
        .cloned()
        .collect();
    // If fewer were inherited than are asked for by that name, only their addresses tell which are missing.
    let namesakes = || specs.iter().filter(|other| other.name == spec.name).count();
    if !by_name.is_empty() && by_name.len() >= namesakes() {
        return Ok(Origin::StandsAside(by_name));
    }
    let owner_of = |known| owner(spec, known, lookup);
    if let Some(place) = same_spec(spec, ours) {
        let kept = ours.remove(place);
        let owner = owner_of(Some(&kept))?;
        return Ok(kept_or_dead(spec, kept, owner));
    }
    let addresses = match spec.address.host_port() {
        Some(place) => {
            resolve::addresses(place, lookup).map_err(|cause| ListenError::at(&spec.address, cause))?
        }
        None => Vec::new(),
    };
    let wanted = Wanted {
        spec,
        addresses,
        owner: Owner::default(),
        guard: Guard::armed(),
    };
    let by_address: Vec<_> = held
        .iter()
        .filter(|one| covers(one.socket.local(), &wanted))
        .cloned()
        .collect();
    if !by_address.is_empty() {
        return Ok(Origin::StandsAside(by_address));
    }
    if let Some(several) = resolve::several(&wanted.addresses) {
        warnings.push(ListenError::at(&spec.address, several).to_string());
    }
    if let Some(place) = ours.iter().position(|one| is_at(one.socket.local(), &wanted)) {
        let kept = ours.remove(place);
        let owner = owner_of(Some(&kept))?;
        return Ok(kept_or_dead(spec, kept, owner));
    }
    Ok(Origin::New(Wanted {
        owner: owner_of(None)?,
        ..wanted
    }))
}

/// The other sockets of the same address, in their order.
fn take_beside(first: &Listener, ours: &mut Vec<Rc<Listener>>) -> Vec<Rc<Listener>> {
    if first.sockets().is_none() && first.slot.is_none() {
        return Vec::new();
    }
    let (beside, others) = std::mem::take(ours)
        .into_iter()
        .partition(|one| first.is_beside(one));
    *ours = others;
    beside
}

fn kept_or_dead(spec: &ListenSpec, known: Rc<Listener>, owner: Owner) -> Origin<'_> {
    if !known.socket.is_dead() {
        return Origin::Kept(known, owner);
    }
    let wanted = Wanted {
        spec,
        addresses: Vec::new(),
        owner,
        guard: Guard::armed(),
    };
    Origin::Dead(known, wanted)
}

/// The owner that a spec asks for. A socket that is kept with the same words keeps what they meant.
fn owner(spec: &ListenSpec, known: Option<&Rc<Listener>>, lookup: Lookup) -> Result<Owner, ListenError> {
    let options = &spec.options;
    match known {
        Some(known)
            if options.agree(&known.options, Key::User) && options.agree(&known.options, Key::Group) =>
        {
            Ok(known.owner)
        }
        Some(_) | None => {
            resolve::owner(options, lookup).map_err(|cause| ListenError::at(&spec.address, cause))
        }
    }
}

/// The socket that was made for the same words, by preference the one with the same name: there may be several for port 0.
fn same_spec(spec: &ListenSpec, ours: &[Rc<Listener>]) -> Option<usize> {
    let same = |one: &Rc<Listener>| match one.socket.source() {
        Source::Spec(address) => *address == spec.address,
        Source::Inherited { .. } | Source::Probe => false,
    };
    let same_name = |name: &String| {
        ours.iter()
            .position(|one| one.name() == name.as_str() && same(one))
    };
    let named = spec.name.as_ref().and_then(same_name);
    // Those before it have been taken out, so that it mostly is the first.
    named.or_else(|| ours.iter().position(same))
}

/// Whether a socket of ours is bound exactly there: a new spelling of an old address.
fn is_at(local: &Local, wanted: &Wanted<'_>) -> bool {
    if local.kind != kind_of(&wanted.spec.address) {
        return false;
    }
    match (&local.bound_to, wanted.spec.address.unix_path()) {
        (BoundTo::Internet { address, .. }, None) => {
            address.port() != 0 && wanted.addresses.first() == Some(address)
        }
        (BoundTo::Path(bound), Some(UnixPath::Path(path))) => absolute(path).as_ref() == Ok(bound),
        (BoundTo::Abstract(bound), Some(UnixPath::Abstract(name))) => bound == name.as_bytes(),
        (
            BoundTo::Internet { .. } | BoundTo::Path(_) | BoundTo::Abstract(_) | BoundTo::Unnamed,
            Some(_) | None,
        ) => false,
    }
}

/// Whether an inherited socket has the address of a spec. `*` is covered by a socket on every address of either family,
/// for the port could not be bound beside it; a host is covered by any of its addresses.
fn covers(local: &Local, wanted: &Wanted<'_>) -> bool {
    if is_at(local, wanted) {
        return true;
    }
    let BoundTo::Internet { address: bound, .. } = &local.bound_to else {
        return false;
    };
    let Some(place) = wanted.spec.address.host_port() else {
        return false;
    };
    if local.kind != kind_of(&wanted.spec.address) || bound.port() != place.port {
        return false;
    }
    match place.host {
        Host::Every => bound.ip().is_unspecified(),
        Host::Ip(_) | Host::Zoned(..) | Host::Name(_) => wanted.addresses.contains(bound),
    }
}

fn realize(
    spec: &ListenSpec,
    origin: Origin<'_>,
    beside: Vec<Rc<Listener>>,
    name: String,
    known: &[Rc<Listener>],
    (lookup, taken): (Lookup, Taken),
    warnings: &mut Vec<String>,
) -> Result<Vec<Rc<Listener>>, ListenError> {
    match origin {
        Origin::StandsAside(held) => {
            warnings.extend(late::ignored_options(spec, &held));
            let turn = Turn::of(spec, &held, lookup);
            let named = held
                .into_iter()
                .map(|one| late::under_name_of(spec, one))
                .collect();
            Ok(late::slots_of(
                named,
                beside,
                (turn, lookup, taken.shared),
                warnings,
            ))
        }
        Origin::Kept(old, owner) => {
            let all: Vec<Rc<Listener>> = std::iter::once(old).chain(beside).collect();
            let switches_on = switch::switches_on(spec, &all);
            let all: Vec<Rc<Listener>> = all
                .into_iter()
                .map(|old| under(old, name.clone(), spec, owner))
                .collect();
            // A supervisor that was killed may have left fewer slots than there were; or steering was switched on.
            if switches_on || all.iter().any(|one| one.slot.is_some()) {
                let wanted = Wanted {
                    spec,
                    addresses: Vec::new(),
                    owner,
                    guard: Guard::armed(),
                };
                return Ok(slots::complete(all, &wanted, taken.shared, warnings));
            }
            Ok(all)
        }
        Origin::New(wanted) => {
            let bound = bind::open(&wanted, &|kind, address| holder_of(known, lookup, kind, address))?;
            let first = made(bound, &wanted, name.clone(), warnings);
            if slots::is_asked(&spec.options) {
                return Ok(slots::of_new(first, &wanted, taken.pointed, warnings));
            }
            let mut all = vec![first];
            while all.len() < all[0].sockets().unwrap_or(1) {
                let bound = bind::beside(&wanted, &all[0].socket)?;
                // What there is to tell has been told of the first.
                all.push(made(bound, &wanted, name.clone(), &mut Vec::new()));
            }
            Ok(all)
        }
        Origin::Dead(old, wanted) => Ok(vec![match bind::unix(&wanted, Some(&old.socket)) {
            Ok(bound) => made(bound, &wanted, name, warnings),
            Err(cause) => {
                let kept = under(old, name, spec, wanted.owner);
                let warning = kept.alarm(&format!("cannot bind it afresh: {cause}"));
                warnings.push(warning.to_string());
                kept
            }
        }]),
    }
}

fn made(bound: Bound, wanted: &Wanted<'_>, name: String, warnings: &mut Vec<String>) -> Rc<Listener> {
    let tell = |warning: String| ListenError::at(&wanted.spec.address, warning).to_string();
    warnings.extend(bound.warnings.into_iter().map(tell));
    Rc::new(Listener {
        name,
        options: wanted.spec.options.clone(),
        owner: wanted.owner,
        socket: Rc::new(bound.socket),
        slot: None,
    })
}

/// The same listener if nothing changed, so that a generation can be compared with the next.
fn under(old: Rc<Listener>, name: String, spec: &ListenSpec, owner: Owner) -> Rc<Listener> {
    if old.name == name && old.options == spec.options && old.owner == owner {
        return old;
    }
    Rc::new(Listener {
        name,
        options: spec.options.clone(),
        owner,
        socket: Rc::clone(&old.socket),
        slot: old.slot.clone(),
    })
}

/// Who has a busy port. It may be a listener that this very reload removes, which is closed only when the new generation
/// has proved itself. /proc is read at the start alone, for that takes its time.
fn holder_of(
    current: &[Rc<Listener>],
    lookup: Lookup,
    kind: SocketKind,
    wanted: SocketAddr,
) -> Option<String> {
    let ours = current.iter().find(|one| match &one.socket.local().bound_to {
        BoundTo::Internet { address, .. } => one.kind() == kind && address.port() == wanted.port(),
        BoundTo::Path(_) | BoundTo::Abstract(_) | BoundTo::Unnamed => false,
    });
    match (ours, lookup) {
        (Some(ours), _) => Some(format!(
            "segue's own listener {}, {}{}",
            ours.name(),
            ours.address_text(),
            two_families(ours.socket.local(), wanted)
        )),
        (None, Lookup::AtStart) => holder::of_port(kind, wanted),
        (None, Lookup::Refused) => None,
    }
}

/// What helps where one listener is for IPv4 and the other for every IPv6 address: that one takes IPv4 clients, too, unless it is
/// told not to.
fn two_families(ours: &Local, wanted: SocketAddr) -> &'static str {
    let BoundTo::Internet { address: ours, .. } = &ours.bound_to else {
        return "";
    };
    match (ours.is_ipv6(), wanted.is_ipv6()) {
        (true, false) if ours.ip().is_unspecified() => {
            "; it takes IPv4 clients, too, unless it has bind-ipv6-only=ipv6-only"
        }
        (false, true) if wanted.ip().is_unspecified() => {
            "; the new one would take IPv4 clients, too, unless it has bind-ipv6-only=ipv6-only"
        }
        (true | false, true | false) => "",
    }
}

/// Changes the options of the sockets that stay; if one cannot change, those before it are changed back.
fn change_options(sets: &[Vec<Rc<Listener>>], warnings: &mut Vec<String>) -> Result<(), ListenError> {
    let mut done: Vec<(&Listener, (SocketOptions, Owner))> = Vec::new();
    for listener in sets.iter().flatten().filter(|listener| is_ours(listener)) {
        let before = listener.socket.applied();
        if before == (listener.options.clone(), listener.owner) {
            continue;
        }
        if let Err(cause) = listener.socket.change(&listener.options, listener.owner) {
            for (earlier, (options, owner)) in done {
                // What was in force a moment ago can be so again; if not, restore_flags will say it.
                let _ = earlier.socket.change(&options, owner);
            }
            return Err(ListenError::at(listener.address_text(), cause));
        }
        let tell = |cap: String| ListenError::at(listener.address_text(), cap).to_string();
        warnings.extend(listener.socket.caps().into_iter().map(tell));
        done.push((listener, before));
    }
    Ok(())
}

/// The order in which an app gets them: see [`Opened::listeners`].
fn fd_order<'a>(
    given: impl Iterator<Item = &'a Rc<Listener>>,
    sets: Vec<Vec<Rc<Listener>>>,
) -> Vec<Rc<Listener>> {
    let mut seen = BTreeSet::new();
    let mut chosen: Vec<Rc<Listener>> = Vec::new();
    for listener in sets.into_iter().flatten() {
        // One inherited socket may stand in for two specs, by name and by address; the app gets it once.
        if seen.insert(listener.socket_key()) {
            chosen.push(listener);
        }
    }
    let unasked = given.filter(|one| !seen.contains(&one.socket_key()));
    // An earlier configuration may have said something of them.
    let plain = |one: &Rc<Listener>| Rc::clone(one).with(one.name.clone(), SocketOptions::default());
    unasked.map(plain).chain(chosen.iter().cloned()).collect()
}
