//! The cgroup of a container as a transient scope of systemd: org.freedesktop.systemd1(5). systemd
//! makes it, with the limits that it knows as properties; everything else is done to it as to any
//! other cgroup, device rules too: systemd has none of its own for the unit, so it puts none in the
//! place of ours when it reads its configuration again (`systemctl daemon-reload`).

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::sys::stat::fstat;
use nix::unistd::getpid;

use super::file::read;
use super::fs::{READ, remove_own};
use super::join::directory_of;
use super::processes::{kill, wait_empty};
use crate::dbus::address::{Address, parse};
use crate::dbus::message::Call;
use crate::dbus::value::Value;
use crate::dbus::{Answer, Connection};
use crate::error::{Call as _, Context, Error, Result};
use crate::plan::resources::Setting;
use crate::plan::unit::{Property, Scope, properties};
use crate::state;
use crate::sys::path::open_path;

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
/// The types of the arguments of the signal JobRemoved.
const JOB_REMOVED: &str = "uoss";

/// Makes the scope, with a process in it: systemd makes none that is empty, and ends one that becomes
/// so. It is opened for clone3(2), which puts init beside that process.
///
/// # Errors
/// What systemd says; that it does not do it within 30 seconds.
pub fn make(scope: &Scope, pid: i32, mount: &str) -> Result<(state::Cgroup, OwnedFd)> {
    let doing = || format!("systemd: scope {:?}", scope.unit);
    start(scope, pid).context(doing)?;
    // Where it is the kernel knows best: the guess of the plan does not know a user's manager that
    // is not at its usual place, or a systemd that is not at the root.
    let directory = directory_of(pid, mount)?;
    if !directory.ends_with(&format!("/{}", scope.unit)) {
        return Err(
            Error::new(format!("process {pid} was moved to {directory:?}")).context(doing())
        );
    }
    let opened = open_path(&directory, READ)?;
    let inode = fstat(&opened).call(|| format!("stat({directory:?})"))?.st_ino;
    let own = state::Scope { unit: scope.unit.clone(), user: scope.user, inode };
    Ok((state::Cgroup { directory, made: true, scope: Some(own) }, opened))
}

fn start(scope: &Scope, pid: i32) -> Result<()> {
    let mut systemd = Systemd::connect(scope.user, &scope.unit)?;
    let process = Property::new("PIDs", to_pids(pid));
    let mut properties: Vec<&Property> = scope.properties.iter().chain([&process]).collect();
    let mut is_retry = false;
    loop {
        let arguments = vec![
            Value::text(&scope.unit),
            // No other job of this unit is replaced: there is none.
            Value::text("fail"),
            to_value(&properties),
            Value::Array("(sa(sv))".to_owned(), Vec::new()),
        ];
        match systemd.job("StartTransientUnit", arguments)? {
            Job::Done => return Ok(()),
            Job::Refused(name, _)
                if is_unknown(&name) && properties.iter().any(|it| it.is_optional) =>
            {
                properties.retain(|property| !property.is_optional);
            }
            // One that has failed keeps its name until it is told to forget.
            Job::Refused(name, _) if name == "org.freedesktop.systemd1.UnitExists" && !is_retry => {
                is_retry = true;
                systemd.reset_failed()?;
            }
            Job::Refused(_, error) => return Err(error),
        }
    }
}

/// The errors of a systemd that does not know a property, or not this value of it.
fn is_unknown(name: &str) -> bool {
    ["org.freedesktop.DBus.Error.PropertyReadOnly", "org.freedesktop.DBus.Error.InvalidArgs"]
        .contains(&name)
}

/// Has systemd move this process, which is none of the container's, into a scope or a cgroup `below` it.
///
/// # Errors
/// What systemd says.
pub fn attach_self(scope: &state::Scope, below: &str) -> Result<()> {
    let doing = || format!("systemd: scope {:?}", scope.unit);
    let mut systemd = Systemd::connect(scope.user, &scope.unit).context(doing)?;
    let below = format!("/{}", below.trim_start_matches('/'));
    let arguments = vec![Value::text(&scope.unit), Value::text(&below), to_pids(getpid().as_raw())];
    match systemd.call("AttachProcessesToUnit", arguments).context(doing)? {
        Answer::Return(_) => Ok(()),
        Answer::Refused(_, error) => Err(error.context(doing())),
    }
}

/// Tells systemd other values, so that it does not write the old ones again. They are gone when the
/// scope is.
///
/// # Errors
/// What systemd says.
pub fn set(scope: &state::Scope, properties: &[Property]) -> Result<()> {
    let doing = || format!("systemd: scope {:?}", scope.unit);
    let mut systemd = Systemd::connect(scope.user, &scope.unit).context(doing)?;
    let mut properties: Vec<&Property> = properties.iter().collect();
    loop {
        let runtime = Value::Boolean(true);
        let arguments = vec![Value::text(&scope.unit), runtime, to_value(&properties)];
        match systemd.call("SetUnitProperties", arguments).context(doing)? {
            Answer::Return(_) => return Ok(()),
            Answer::Refused(name, _)
                if is_unknown(&name) && properties.iter().any(|it| it.is_optional) =>
            {
                properties.retain(|property| !property.is_optional);
            }
            Answer::Refused(_, error) => return Err(error.context(doing())),
        }
    }
}

/// Tells systemd what these interface files hold now, or it would write what they held before.
///
/// # Errors
/// What systemd says.
pub fn tell(
    scope: &state::Scope,
    cgroup: BorrowedFd<'_>,
    mut settings: Vec<Setting>,
) -> Result<()> {
    for setting in &mut settings {
        // Whole: of cpu.max a part may have been written.
        if let Ok(text) = read(cgroup, &setting.file) {
            setting.value = text.lines().next().unwrap_or_default().to_owned();
        }
    }
    match properties::of(&mut settings) {
        properties if properties.is_empty() => Ok(()),
        properties => set(scope, &properties),
    }
}

/// Ends what is left in the scope, and the scope. Nothing is done to another one of the same name.
///
/// # Errors
/// That processes do not end within ten seconds; what systemd says.
pub fn remove(directory: &str, scope: &state::Scope) -> Result<()> {
    if !is_current(directory, scope) {
        return Ok(());
    }
    kill(directory)?;
    wait_empty(directory)?;
    stop(scope).context(|| format!("systemd: scope {:?}", scope.unit))?;
    // If it had cgroups below that systemd left; the name is free since.
    if is_current(directory, scope) { remove_own(directory, true) } else { Ok(()) }
}

/// Whether the directory is that of the scope still.
pub fn is_current(directory: &str, scope: &state::Scope) -> bool {
    std::fs::metadata(directory).is_ok_and(|metadata| metadata.ino() == scope.inode)
}

/// A scope ends by itself when it is empty; the job tells when systemd is done with it.
fn stop(scope: &state::Scope) -> Result<()> {
    let mut systemd = Systemd::connect(scope.user, &scope.unit)?;
    let arguments = vec![Value::text(&scope.unit), Value::text("replace")];
    match systemd.job("StopUnit", arguments)? {
        Job::Done => systemd.reset_failed(),
        Job::Refused(name, _) if name == "org.freedesktop.systemd1.NoSuchUnit" => Ok(()),
        Job::Refused(_, error) => Err(error),
    }
}

/// What became of a job.
enum Job {
    Done,
    /// With the name of the error.
    Refused(String, Error),
}

/// A service manager, asked about one unit.
struct Systemd<'a> {
    bus: Connection,
    unit: &'a str,
}

impl<'a> Systemd<'a> {
    /// By the bus, which is the interface that is promised (systemd(1) calls its own socket private).
    fn connect(user: Option<u32>, unit: &'a str) -> Result<Self> {
        let bus = match user {
            None => Connection::open(&of_system()).context(|| "the bus of the system")?,
            Some(_) => Connection::open(&of_session()).context(|| "the bus of the session")?,
        };
        Ok(Self { bus, unit })
    }

    fn call(&mut self, member: &str, body: Vec<Value>) -> Result<Answer> {
        let call = Call { destination: NAME, path: PATH, interface: INTERFACE, member, body };
        let unit = self.unit;
        let answer = self.bus.call(&call).context(|| format!("{member}({unit:?})"))?;
        Ok(match answer {
            Answer::Refused(name, error) => {
                Answer::Refused(name, error.context(format!("{member}({unit:?})")))
            }
            done @ Answer::Return(_) => done,
        })
    }

    /// Calls a method that makes a job, and waits until the job has ended. systemd tells who asked
    /// for it.
    fn job(&mut self, member: &str, body: Vec<Value>) -> Result<Job> {
        let unit = self.unit;
        self.bus.subscribe(&format!(
            "type='signal',sender='{NAME}',path='{PATH}',interface='{INTERFACE}',\
             member='JobRemoved',arg2='{unit}'"
        ));
        let answer = match self.call(member, body)? {
            Answer::Refused(name, error) => return Ok(Job::Refused(name, error)),
            Answer::Return(message) => message,
        };
        let job = answer.body("o")?;
        loop {
            let signal = self.bus.signal(&answer.sender, INTERFACE, "JobRemoved");
            let body = signal.context(|| format!("{member}({unit:?})"))?.body(JOB_REMOVED)?;
            let [_, of, _, Value::Text(result)] = &body[..] else { continue };
            match result.as_str() {
                _ if *of != job[0] => {}
                "done" => return Ok(Job::Done),
                other => {
                    return Err(Error::new(format!("{member}({unit:?}): the job was {other:?}")));
                }
            }
        }
    }

    /// Has a unit that failed forgotten. One that is not there need not be.
    fn reset_failed(&mut self) -> Result<()> {
        self.call("ResetFailedUnit", vec![Value::text(self.unit)]).map(drop)
    }
}

fn to_pids(pid: i32) -> Value {
    let pid = u32::try_from(pid).expect("a pid is not negative");
    Value::Array("u".to_owned(), vec![Value::Uint32(pid)])
}

fn to_value(properties: &[&Property]) -> Value {
    let pair = |property: &&Property| {
        let value = Value::Variant(Box::new(property.value.clone()));
        Value::Structure(vec![Value::text(&property.name), value])
    };
    Value::Array("(sv)".to_owned(), properties.iter().map(pair).collect())
}

fn of_system() -> Vec<Address> {
    from_environment("DBUS_SYSTEM_BUS_ADDRESS")
        .unwrap_or_else(|| vec![Address::Path("/run/dbus/system_bus_socket".to_owned())])
}

fn of_session() -> Vec<Address> {
    from_environment("DBUS_SESSION_BUS_ADDRESS").unwrap_or_else(|| {
        let directory = std::env::var("XDG_RUNTIME_DIR").ok();
        directory.map(|directory| Address::Path(format!("{directory}/bus"))).into_iter().collect()
    })
}

fn from_environment(name: &str) -> Option<Vec<Address>> {
    std::env::var(name).ok().filter(|list| !list.is_empty()).map(|list| parse(&list))
}
