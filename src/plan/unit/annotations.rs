//! Properties that an engine gives by annotation: `org.systemd.property.NAME`, with the value in the
//! text form of GVariant, as runc and crun read it.

use std::collections::BTreeMap;

use super::Property;
use super::variant::parse;
use crate::dbus::value::Value;
use crate::plan::cgroup::Manager;
use crate::plan::{Problems, Request, escape};

/// What comes before the name of the property.
pub const PREFIX: &str = "org.systemd.property.";

/// The properties, in the order of their names. None, if there will be no unit.
pub fn plan(
    annotations: &BTreeMap<String, String>,
    request: &Request<'_>,
    problems: &mut Problems,
) -> Vec<Property> {
    if request.cgroup_manager == Manager::Systemd {
        read(annotations, problems)
    } else {
        Vec::new()
    }
}

fn read(annotations: &BTreeMap<String, String>, problems: &mut Problems) -> Vec<Property> {
    let mut properties = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let property = check_name(name).and_then(|()| parse(text)).and_then(|it| in_us(name, it));
        match property {
            Ok((name, value)) => properties.push(Property::new(&name, value)),
            Err(why) => problems.add(format_args!("/annotations/{}", escape(key)), why),
        }
    }
    properties
}

fn check_name(name: &str) -> Result<(), String> {
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err("the name of a property is three letters or more, and nothing else".to_owned());
    }
    // What decides where the container is.
    if ["PIDs", "PIDFDs", "Slice", "Delegate"].contains(&name) {
        return Err("this property is the runtime's".to_owned());
    }
    Ok(())
}

/// `TimeoutStopSec`, in seconds, is the name in a file; on the bus it is `TimeoutStopUSec`.
fn in_us(name: &str, value: Value) -> Result<(String, Value), String> {
    let of_time =
        name.strip_suffix("Sec").filter(|rest| rest.ends_with(|c: char| c.is_lowercase()));
    let Some(rest) = of_time else { return Ok((name.to_owned(), value)) };
    let seconds = match value {
        Value::Double(number) if (0.0..1e12).contains(&number) => {
            return Ok((format!("{rest}USec"), Value::Uint64((number * 1e6) as u64)));
        }
        Value::Byte(number) => Some(number.into()),
        Value::Uint32(number) => Some(number.into()),
        Value::Uint64(number) => Some(number),
        Value::Int32(number) => u64::try_from(number).ok(),
        Value::Int64(number) => u64::try_from(number).ok(),
        _ => None,
    };
    let microseconds = seconds.and_then(|seconds| seconds.checked_mul(1_000_000));
    let microseconds = microseconds.ok_or("must be a number of seconds, 0 or more")?;
    Ok((format!("{rest}USec"), Value::Uint64(microseconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(name: &str, value: &str) -> Result<(String, Value), String> {
        let annotations = BTreeMap::from([
            (format!("org.systemd.property.{name}"), value.to_owned()),
            ("org.systemd.other".to_owned(), "x".to_owned()),
        ]);
        let mut problems = Problems::default();
        let properties = read(&annotations, &mut problems);
        let property = properties.into_iter().next().map(|it| (it.name, it.value));
        property.ok_or_else(|| problems.wrong().join("; "))
    }

    #[test]
    fn an_annotation_is_a_property_with_a_type() {
        let text = Value::text("inactive-or-failed");
        for (name, value, expected) in [
            ("CollectMode", "'inactive-or-failed'", ("CollectMode", text)),
            ("SendSIGHUP", "true", ("SendSIGHUP", Value::Boolean(true))),
            ("KillSignal", "9", ("KillSignal", Value::Int32(9))),
            ("TimeoutStopUSec", "uint64 5", ("TimeoutStopUSec", Value::Uint64(5))),
            ("TimeoutStopSec", "5", ("TimeoutStopUSec", Value::Uint64(5_000_000))),
            ("TimeoutStopSec", "1.5", ("TimeoutStopUSec", Value::Uint64(1_500_000))),
            ("TimeoutStopSec", "uint64 5", ("TimeoutStopUSec", Value::Uint64(5_000_000))),
        ] {
            let (expected, of) = expected;
            assert_eq!(planned(name, value), Ok((expected.to_owned(), of)), "{name}={value}");
        }
    }

    #[test]
    fn what_is_no_property_is_refused_at_its_place() {
        for (name, value) in [
            ("", "1"),
            ("ab", "1"),
            ("Kill1", "1"),
            ("Kill-Signal", "1"),
            ("a.bc", "1"),
            ("KillSignal", "nine"),
            ("TimeoutStopSec", "'5'"),
            ("TimeoutStopSec", "-5"),
            ("PIDs", "[uint32 1]"),
            ("Slice", "'a.slice'"),
        ] {
            let error = planned(name, value).unwrap_err();
            assert!(error.starts_with(&format!("/annotations/{PREFIX}{name}: ")), "{error}");
        }
    }
}
