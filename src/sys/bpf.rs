//! BPF programs: bpf(2), without a C library. The structures are those of linux/bpf.h.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use crate::error::{Call, Result};

/// `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Class, source or size, and operation.
    pub code: u8,
    /// The destination in the lower four bits, the source in the upper.
    pub registers: u8,
    /// Of a jump: how many instructions behind the next one; else in bytes.
    pub offset: i16,
    /// The operand.
    pub immediate: i32,
}

impl Instruction {
    /// The instruction of these fields.
    #[must_use]
    pub fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Self {
        Self { code, registers: destination | source << 4, offset, immediate }
    }
}

/// BPF_PROG_TYPE_CGROUP_DEVICE and BPF_CGROUP_DEVICE.
const CGROUP_DEVICE_PROGRAM: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
/// Others may attach programs too, here and below, and each of them must allow an access.
const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;

/// Commands of bpf(2).
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;

/// How many programs of a cgroup are looked at.
const MOST_PROGRAMS: usize = 64;
/// A signal interrupts the verifier with EAGAIN.
const ATTEMPTS: usize = 32;

/// What the commands here take of `union bpf_attr`, in words of 32 bits: up to the end of `prog_name`
/// of PROG_LOAD and of `revision` of PROG_QUERY, which 6.17 writes whatever the size it was told.
type Attr = [u32; 16];

fn low_and_high(pointer: *const u8) -> [u32; 2] {
    let address = pointer as u64;
    if cfg!(target_endian = "little") {
        [address as u32, (address >> 32) as u32]
    } else {
        [(address >> 32) as u32, address as u32]
    }
}

fn bpf(command: libc::c_int, attr: &mut Attr) -> nix::Result<libc::c_long> {
    let pointer = attr.as_mut_ptr();
    // SAFETY: the kernel reads and writes the live array, as long as it is told. The pointers in it
    // are to live memory of the sizes that are beside them: see the callers.
    Errno::result(unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<Attr>()) })
}

fn descriptor(result: libc::c_long) -> OwnedFd {
    // SAFETY: the command succeeded, so this is a new descriptor that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(result as RawFd) }
}

fn word(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Loads a program that decides on devices, under a name of at most 15 bytes. The descriptor closes
/// on exec.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN, or CAP_BPF and CAP_NET_ADMIN, in the initial user namespace; EACCES
/// and EINVAL for a program that the verifier does not take.
pub fn load_device_program(program: &[Instruction], name: &str) -> Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attr: Attr = [0; 16];
    attr[0] = CGROUP_DEVICE_PROGRAM;
    attr[1] = program.len() as u32;
    attr[2..4].copy_from_slice(&low_and_high(program.as_ptr().cast()));
    attr[4..6].copy_from_slice(&low_and_high(license.as_ptr().cast()));
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    for (word, bytes) in attr[12..16].iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes(bytes.try_into().expect("a chunk of four"));
    }
    let mut attempts = 0;
    loop {
        // The instructions and the licence outlive the call.
        match bpf(PROG_LOAD, &mut attr) {
            Err(Errno::EAGAIN) if attempts < ATTEMPTS => attempts += 1,
            other => {
                let call = || format!("bpf(BPF_PROG_LOAD, {} instructions)", program.len());
                return other.map(descriptor).call(call);
            }
        }
    }
}

/// Attaches a program to a cgroup: beside those that are there, or in the place of one of them, in
/// one step.
///
/// # Errors
/// EPERM; ENOENT if the one to replace is not attached.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let mut attr: Attr = [0; 16];
    let flags = if replaced.is_some() { ALLOW_MULTI | REPLACE } else { ALLOW_MULTI };
    let replaced = replaced.map_or(0, word);
    attr[..5].copy_from_slice(&[word(cgroup), word(program), CGROUP_DEVICE, flags, replaced]);
    bpf(PROG_ATTACH, &mut attr)
        .map(drop)
        .call(|| format!("bpf(BPF_PROG_ATTACH, BPF_CGROUP_DEVICE, {flags:#x})"))
}

/// Detaches a program from a cgroup.
///
/// # Errors
/// ENOENT if it is not attached; EPERM.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attr: Attr = [0; 16];
    attr[..3].copy_from_slice(&[word(cgroup), word(program), CGROUP_DEVICE]);
    bpf(PROG_DETACH, &mut attr).map(drop).call(|| "bpf(BPF_PROG_DETACH, BPF_CGROUP_DEVICE)")
}

/// The ids of the programs that are attached to a cgroup itself.
///
/// # Errors
/// ENOSPC for more than 64; EPERM.
pub fn device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<u32>> {
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut attr: Attr = [0; 16];
    attr[..2].copy_from_slice(&[word(cgroup), CGROUP_DEVICE]);
    attr[4..6].copy_from_slice(&low_and_high(ids.as_mut_ptr().cast()));
    attr[6] = ids.len() as u32;
    // The kernel writes at most as many ids as there is room for, and the count.
    bpf(PROG_QUERY, &mut attr).call(|| "bpf(BPF_PROG_QUERY, BPF_CGROUP_DEVICE)")?;
    Ok(ids[..attr[6] as usize].to_vec())
}

/// Opens a program by its id.
///
/// # Errors
/// ENOENT if it is gone; EPERM.
pub fn open_program(id: u32) -> Result<OwnedFd> {
    let mut attr: Attr = [0; 16];
    attr[0] = id;
    bpf(PROG_GET_FD_BY_ID, &mut attr)
        .map(descriptor)
        .call(|| format!("bpf(BPF_PROG_GET_FD_BY_ID, {id})"))
}

/// The name under which a program was loaded.
///
/// # Errors
/// EPERM.
pub fn program_name(program: BorrowedFd<'_>) -> Result<String> {
    /// `struct bpf_prog_info` up to `name`, which begins at byte 64.
    const LENGTH: u32 = 80;
    let mut info = [0_u8; LENGTH as usize];
    let mut attr: Attr = [0; 16];
    attr[..2].copy_from_slice(&[word(program), LENGTH]);
    attr[2..4].copy_from_slice(&low_and_high(info.as_mut_ptr()));
    // The kernel writes at most as many bytes as the length says.
    bpf(OBJ_GET_INFO_BY_FD, &mut attr).call(|| "bpf(BPF_OBJ_GET_INFO_BY_FD)")?;
    let name = info[64..].split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}
