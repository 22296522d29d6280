//! One listener of segue.toml: a string as `--listen` takes it, or a table.

use toml::de::DeValue;

use super::item::{Item, Wrong, unknown};
use crate::address::{Address, AddressError, ListenSpec, SocketOptions, check_name};

/// Reads one element of `listen`.
///
/// # Errors
///
/// Everything that is wrong with it; at least one.
pub(super) fn read(item: &Item<'_>) -> Result<ListenSpec, Vec<Wrong>> {
    match item.value {
        DeValue::String(text) => text
            .parse()
            .map_err(|error: AddressError| vec![item.wrong(error.to_string())]),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => read_table(item),
    }
}

fn read_table(item: &Item<'_>) -> Result<ListenSpec, Vec<Wrong>> {
    let entries = item
        .table("an address as a string, or a table")
        .map_err(|wrong| vec![wrong])?;
    let mut parts = Parts::default();
    let errors: Vec<Wrong> = entries
        .iter()
        .filter_map(|(key, entry)| parts.read(key, entry).err())
        .collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let address = parts
        .address
        .ok_or_else(|| vec![item.wrong("`address` is missing")])?;
    ListenSpec::new(parts.name, address, parts.options).map_err(|error| vec![item.wrong(error.to_string())])
}

#[derive(Default)]
struct Parts {
    name: Option<String>,
    address: Option<Address>,
    options: SocketOptions,
}

impl Parts {
    fn read(&mut self, key: &str, entry: &Item<'_>) -> Result<(), Wrong> {
        let wrong = |error: AddressError| entry.wrong(error.to_string());
        match key {
            "name" => {
                let name = entry.text("a string")?;
                check_name(name).map_err(wrong)?;
                self.name = Some(name.to_owned());
            }
            "address" => self.address = Some(address(entry)?.parse().map_err(wrong)?),
            option => self.option(option, entry)?,
        }
        Ok(())
    }

    fn option(&mut self, option: &str, entry: &Item<'_>) -> Result<(), Wrong> {
        let known: Vec<&str> = SocketOptions::names().chain(["name", "address"]).collect();
        if !known.contains(&option) {
            return Err(unknown(entry, &known));
        }
        self.options
            .set(option, &option_text(option, entry)?)
            .map_err(|error| entry.wrong(without_name(&error, option)))
    }
}

/// The address; a bare port may be an integer.
fn address(entry: &Item<'_>) -> Result<String, Wrong> {
    match entry.value.as_integer() {
        Some(number) => Ok(number.as_str().to_owned()),
        None => entry.text("an address as a string").map(str::to_owned),
    }
}

/// The options whose text is octal; an integer must be written in octal too.
const MODES: [&str; 2] = ["mode", "directory-mode"];

/// The value of an option as `--listen` would have it.
fn option_text(option: &str, entry: &Item<'_>) -> Result<String, Wrong> {
    match entry.value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(flag) => Ok(flag.to_string()),
        DeValue::Integer(number) if MODES.contains(&option) => match number.radix() {
            8 => Ok(number.as_str().to_owned()),
            _ => Err(entry.wrong(format!("a mode is octal: \"{0}\" or 0o{0}", number.as_str()))),
        },
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err(entry.wrong("the number is too large")),
        },
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(entry.wrong("expected a string, a number, true or false"))
        }
    }
}

/// The key before the reason names the option already.
fn without_name(error: &AddressError, option: &str) -> String {
    let text = error.to_string();
    text.strip_prefix(&format!("listen option {option}: "))
        .map_or(text.clone(), str::to_owned)
}
