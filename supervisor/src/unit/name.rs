//! Names of units: `shop.service`, `shop@blue.service`, `shop@.service`.

use std::fmt;

/// The longest name of a unit, in bytes (`UNIT_NAME_MAX` of systemd).
const LONGEST: usize = 255;

/// The kinds of units that can be named here.
const KINDS: [&str; 2] = ["service", "socket"];

/// All others (systemd.unit(5)).
const OTHER_KINDS: [&str; 9] = [
    "automount",
    "device",
    "mount",
    "path",
    "scope",
    "slice",
    "swap",
    "target",
    "timer",
];

/// The name of a service or socket unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnitName {
    /// `shop` in all three.
    pub(crate) prefix: String,
    /// What follows the `@`; empty in a template.
    instance: Option<String>,
    kind: &'static str,
}

impl UnitName {
    /// Read a name; one without an ending is a service's, as for systemctl.
    ///
    /// # Errors
    /// One line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let refused = || format!("not the name of a service or socket unit: {text:?}");
        let (stem, kind) = match text.rsplit_once('.') {
            Some((_, ending)) if OTHER_KINDS.contains(&ending) => return Err(refused()),
            Some((stem, ending)) => match KINDS.iter().find(|kind| **kind == ending) {
                Some(kind) => (stem, *kind),
                None => (text, KINDS[0]),
            },
            None => (text, KINDS[0]),
        };
        let (prefix, instance) = match stem.split_once('@') {
            Some((prefix, instance)) => (prefix, Some(instance.to_owned())),
            None => (stem, None),
        };
        let fits = |character: char| character.is_ascii_alphanumeric() || ":-_.\\".contains(character);
        let is_instance = |text: &str| text.chars().all(|character| fits(character) || character == '@');
        let is_name = !prefix.is_empty()
            && text.len() <= LONGEST
            && prefix.chars().all(fits)
            && instance.as_deref().is_none_or(is_instance);
        if !is_name {
            return Err(refused());
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            instance,
            kind,
        })
    }

    /// The whole name.
    pub(crate) fn full(&self) -> String {
        format!("{}.{}", self.stem(), self.kind)
    }

    /// The name without its ending, as `%N` has it.
    pub(crate) fn stem(&self) -> String {
        match &self.instance {
            Some(instance) => format!("{}@{instance}", self.prefix),
            None => self.prefix.clone(),
        }
    }

    /// What follows the `@`.
    pub(crate) fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    pub(crate) fn is_service(&self) -> bool {
        self.kind == KINDS[0]
    }

    /// Whether it is no unit itself, but what instances are made of.
    pub(crate) fn is_template(&self) -> bool {
        self.instance.as_deref() == Some("")
    }

    /// The name of the template that it is an instance of.
    pub(super) fn template(&self) -> Option<String> {
        let is_instance = self
            .instance
            .as_ref()
            .is_some_and(|instance| !instance.is_empty());
        is_instance.then(|| format!("{}@.{}", self.prefix, self.kind))
    }

    pub(super) fn with_instance(self, instance: Option<&str>) -> Self {
        Self {
            instance: instance.map(str::to_owned),
            ..self
        }
    }

    /// The socket unit that belongs to a service without being told so.
    pub(crate) fn socket(&self) -> Self {
        Self {
            kind: KINDS[1],
            ..self.clone()
        }
    }

    /// The socket unit whose clients get an instance each.
    pub(crate) fn prefix_socket(&self) -> Self {
        Self {
            instance: None,
            ..self.socket()
        }
    }

    /// The names in whose `NAME.d` drop-ins lie, the most specific first: its own, its template's, those that end behind a dash of
    /// its own, and its kind.
    pub(super) fn drop_in_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut prefix = self.prefix.as_str();
        loop {
            let name = Self {
                prefix: prefix.to_owned(),
                ..self.clone()
            };
            names.push(name.full());
            names.extend(name.template());
            let Some(dash) = prefix.strip_suffix('-').unwrap_or(prefix).rfind('-') else {
                break;
            };
            prefix = &prefix[..=dash];
        }
        names.push(self.kind.to_owned());
        names
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full())
    }
}
