// SPDX-License-Identifier: Apache-2.0
//! CAN and analogue channels for WebAssembly modules in Rust: `hil:can/frames@0.1.0` and `hil:analog/channels@0.1.0`,
//! extensions of this project. `wasm_samples/include/hil_can.h` and `hil_analog.h` describe the imports.
//!
//! ```ignore
//! use hil_wires::{Bus, Error};
//!
//! fn main() -> Result<(), Error> {
//!     let bus = Bus::open("CAN0")?;
//!     while let Some(mut frame) = bus.receive(None)? {
//!         frame.id += 1;
//!         bus.send(&frame)?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The module gets the buses and channels that it is given at its deployment (`--pins=CAN0,AI0,AO0`).
#![no_std]
#![warn(missing_docs)]

use core::fmt;
use core::time::Duration;

/// An error of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The list of the deployment does not name it.
    NotAllowed,
    /// The machine has no such bus or channel.
    Unknown,
    /// Nothing is open under this handle.
    BadHandle,
    /// An input is written, or an output read.
    WrongDirection,
    /// A frame or a raw value that cannot be.
    BadValue,
    /// The kernel's queue is full, or too many are open.
    Busy,
    /// The kernel reports an error, for example of a bus that is off.
    Failed,
}

impl Error {
    fn of(code: i32) -> Error {
        use Error::*;
        match -code {
            1 => NotAllowed,
            2 => Unknown,
            3 => BadHandle,
            4 => WrongDirection,
            5 => BadValue,
            6 => Busy,
            _ => Failed,
        }
    }

    /// The name of the error.
    pub fn name(self) -> &'static str {
        match self {
            Error::NotAllowed => "not-allowed",
            Error::Unknown => "unknown",
            Error::BadHandle => "bad-handle",
            Error::WrongDirection => "wrong-direction",
            Error::BadValue => "bad-value",
            Error::Busy => "busy",
            Error::Failed => "failed",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.name())
    }
}

fn checked(code: i32) -> Result<i32, Error> {
    if code < 0 {
        Err(Error::of(code))
    } else {
        Ok(code)
    }
}

#[link(wasm_import_module = "hil:can/frames@0.1.0")]
extern "C" {
    #[link_name = "open"]
    fn can_open(name: *const u8, size: usize) -> i32;
    #[link_name = "close"]
    fn can_close(bus: i32) -> i32;
    #[link_name = "filter"]
    fn can_filter(bus: i32, id: u32, mask: u32) -> i32;
    #[link_name = "send"]
    fn can_send(bus: i32, frame: *const Frame) -> i32;
    #[link_name = "receive"]
    fn can_receive(bus: i32, frame: *mut Frame, limit: u64) -> i32;
}

#[link(wasm_import_module = "hil:analog/channels@0.1.0")]
extern "C" {
    #[link_name = "open"]
    fn analog_open(name: *const u8, size: usize) -> i32;
    #[link_name = "read"]
    fn analog_read(channel: i32) -> i32;
    #[link_name = "write"]
    fn analog_write(channel: i32, raw: u32) -> i32;
}

/// In an id: it has 29 bits, not 11.
pub const EXTENDED: u32 = 1 << 31;
/// In an id: the frame requests data and has none.
pub const REMOTE: u32 = 1 << 30;

/// A frame of CAN.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub struct Frame {
    /// The identifier, with [`EXTENDED`] and [`REMOTE`].
    pub id: u32,
    /// Bytes of data, 0 to 8.
    pub length: u8,
    unused: [u8; 3],
    /// The data; the bytes from `length` on count for nothing.
    pub data: [u8; 8],
    /// Of a received frame: when the kernel had it, in nanoseconds of the monotonic clock (`std::time::Instant`'s).
    pub stamp: u64,
    /// Of a received frame: how many before it are lost, because the module did not receive them in time.
    pub lost: u32,
    unused2: u32,
}

impl Frame {
    /// A frame to be sent. Of more than 8 bytes of data the host makes an error.
    pub fn new(id: u32, data: &[u8]) -> Frame {
        let mut frame = Frame { id, length: data.len().min(255) as u8, ..Frame::default() };
        for (to, from) in frame.data.iter_mut().zip(data) {
            *to = *from;
        }
        frame
    }
}

/// A bus; closed when the value is dropped.
#[derive(Debug)]
pub struct Bus(i32);

impl Bus {
    /// Opens a bus by its name, up to 8 times: each value receives all frames from now on.
    pub fn open(name: &str) -> Result<Bus, Error> {
        checked(unsafe { can_open(name.as_ptr(), name.len()) }).map(Bus)
    }

    /// Receives only frames whose id has the bits of `id` where `mask` has ones, flags included. Frames that came
    /// before are still received.
    pub fn filter(&self, id: u32, mask: u32) -> Result<(), Error> {
        checked(unsafe { can_filter(self.0, id, mask) }).map(drop)
    }

    /// Sends a frame; its stamp and `lost` count for nothing.
    pub fn send(&self, frame: &Frame) -> Result<(), Error> {
        checked(unsafe { can_send(self.0, frame) }).map(drop)
    }

    /// Waits for the next frame; without a limit for ever. Returns `None` if the limit has passed.
    pub fn receive(&self, limit: Option<Duration>) -> Result<Option<Frame>, Error> {
        let limit = limit.map_or(u64::MAX, |limit| limit.as_nanos().min(u64::MAX as u128 - 1) as u64);
        let mut frame = Frame::default();
        let got = checked(unsafe { can_receive(self.0, &mut frame, limit) })?;
        Ok(if got == 1 { Some(frame) } else { None })
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        unsafe { can_close(self.0) };
    }
}

/// An analogue input, AI0 to AI7.
#[derive(Debug)]
pub struct AnalogInput(i32);

impl AnalogInput {
    /// Opens the channel of that name.
    pub fn open(name: &str) -> Result<AnalogInput, Error> {
        checked(unsafe { analog_open(name.as_ptr(), name.len()) }).map(AnalogInput)
    }

    /// The present raw value.
    pub fn read(&self) -> Result<u16, Error> {
        checked(unsafe { analog_read(self.0) }).map(|raw| raw as u16)
    }
}

/// An analogue output, AO0 to AO7. It is 0 after the module's end.
#[derive(Debug)]
pub struct AnalogOutput(i32);

impl AnalogOutput {
    /// Opens the channel of that name.
    pub fn open(name: &str) -> Result<AnalogOutput, Error> {
        checked(unsafe { analog_open(name.as_ptr(), name.len()) }).map(AnalogOutput)
    }

    /// Sets the output.
    pub fn write(&mut self, raw: u16) -> Result<(), Error> {
        checked(unsafe { analog_write(self.0, raw.into()) }).map(drop)
    }
}
