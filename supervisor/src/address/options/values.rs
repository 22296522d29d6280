//! The values of options, as they are written.

use super::table::{INT_MAX, SECONDS_MAX, Shape};
use super::{BindIpv6Only, Timestamping, Value};
use crate::address::host::{INTERFACE_MAX, is_interface};

/// Longest name of a congestion control algorithm: TCP_CA_NAME_MAX less the final NUL.
const CONGESTION_MAX: usize = 15;

/// Longest name of a user or group: LOGIN_NAME_MAX less the final NUL.
const ACCOUNT_MAX: usize = 255;

/// The names that IPTOS= of systemd.socket(5) knows, from ip(7).
const TOS_NAMES: &[(&str, u32)] = &[
    ("low-delay", 0x10),
    ("throughput", 0x08),
    ("reliability", 0x04),
    ("low-cost", 0x02),
];

/// A value of this shape.
///
/// # Errors
/// What it is not, in words that follow the text.
pub(super) fn parse_value(shape: Shape, text: &str) -> Result<Value, String> {
    match shape {
        Shape::Flag => parse_flag(text).map(Value::Flag),
        Shape::Count { least, most } => parse_count(text, least, most).map(Value::Number),
        Shape::Octal => parse_octal(text).map(Value::Octal),
        Shape::Seconds => parse_seconds(text).map(Value::Number),
        Shape::Bytes => parse_bytes(text).map(Value::Number),
        Shape::Account => parse_word(text, ACCOUNT_MAX, "is not a name or number").map(Value::Text),
        Shape::Congestion => parse_word(text, CONGESTION_MAX, "is not an algorithm").map(Value::Text),
        Shape::Device => parse_device(text).map(Value::Text),
        Shape::Tos => parse_tos(text).map(Value::Number),
        Shape::Ipv6Only => parse_ipv6_only(text).map(Value::Ipv6Only),
        Shape::Stamps => parse_stamps(text).map(Value::Stamps),
    }
}

fn parse_flag(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err("is not yes or no".to_owned()),
    }
}

/// Digits only: `from_str` alone would take `+1`.
fn parse_number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn parse_count(text: &str, least: u32, most: u32) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        // Marks are written in hexadecimal by the firewall tools, so that is understood as well.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None => parse_number(text),
    };
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        Some(_) | None => Err(format!("is not a number from {least} to {most}")),
    }
}

fn parse_octal(text: &str) -> Result<u32, String> {
    let octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        Ok(_) | Err(_) => Err("is not an octal mode from 0000 to 0777".to_owned()),
    }
}

/// Whole seconds, as the kernel counts them: `30`, `30s`, `5m`, `1h`.
fn parse_seconds(text: &str) -> Result<u32, String> {
    let (digits, unit) = if let Some(digits) = text.strip_suffix('s') {
        (digits, 1)
    } else if let Some(digits) = text.strip_suffix('m') {
        (digits, 60)
    } else if let Some(digits) = text.strip_suffix('h') {
        (digits, 3600)
    } else {
        (text, 1)
    };
    match parse_number(digits).and_then(|number| number.checked_mul(unit)) {
        Some(seconds) if (1..=SECONDS_MAX).contains(&seconds) => Ok(seconds),
        Some(_) | None => Err(format!(
            "is not a time from 1s to {SECONDS_MAX}s in whole seconds"
        )),
    }
}

fn parse_bytes(text: &str) -> Result<u32, String> {
    let (digits, unit) = if let Some(digits) = text.strip_suffix('K') {
        (digits, 1 << 10)
    } else if let Some(digits) = text.strip_suffix('M') {
        (digits, 1 << 20)
    } else if let Some(digits) = text.strip_suffix('G') {
        (digits, 1 << 30)
    } else {
        (text, 1)
    };
    match parse_number(digits).and_then(|number| number.checked_mul(unit)) {
        Some(bytes) if (1..=INT_MAX).contains(&bytes) => Ok(bytes),
        Some(_) | None => Err("is not a size in bytes (K, M, G are powers of 1024)".to_owned()),
    }
}

fn parse_word(text: &str, most: usize, why: &str) -> Result<String, String> {
    let fitting = !text.is_empty()
        && text.len() <= most
        && !text.contains([',', '/', ':'])
        && !text
            .chars()
            .any(|character| character.is_control() || character.is_whitespace());
    if fitting {
        Ok(text.to_owned())
    } else {
        Err(why.to_owned())
    }
}

fn parse_device(text: &str) -> Result<String, String> {
    if is_interface(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "is not a network interface (at most {INTERFACE_MAX} characters)"
        ))
    }
}

fn parse_tos(text: &str) -> Result<u32, String> {
    match TOS_NAMES.iter().find(|(name, _)| *name == text) {
        Some((_, value)) => Ok(*value),
        None => parse_count(text, 0, 255)
            .map_err(|why| format!("{why}, low-delay, throughput, reliability or low-cost")),
    }
}

fn parse_ipv6_only(text: &str) -> Result<BindIpv6Only, String> {
    [BindIpv6Only::Both, BindIpv6Only::Ipv6Only, BindIpv6Only::Default]
        .into_iter()
        .find(|choice| ipv6_word(*choice) == text)
        .ok_or_else(|| "is not both, ipv6-only or default".to_owned())
}

fn parse_stamps(text: &str) -> Result<Timestamping, String> {
    [
        Timestamping::Off,
        Timestamping::Microseconds,
        Timestamping::Nanoseconds,
    ]
    .into_iter()
    .find(|choice| stamps_word(*choice) == text)
    .ok_or_else(|| "is not off, us or ns".to_owned())
}

pub(super) fn ipv6_word(choice: BindIpv6Only) -> &'static str {
    match choice {
        BindIpv6Only::Both => "both",
        BindIpv6Only::Ipv6Only => "ipv6-only",
        BindIpv6Only::Default => "default",
    }
}

pub(super) fn stamps_word(choice: Timestamping) -> &'static str {
    match choice {
        Timestamping::Off => "off",
        Timestamping::Microseconds => "us",
        Timestamping::Nanoseconds => "ns",
    }
}
