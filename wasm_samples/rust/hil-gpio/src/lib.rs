// SPDX-License-Identifier: Apache-2.0
//! Pins for WebAssembly modules in Rust: `wasi:gpio/digital@0.2.0` and `hil:gpio/edges@0.1.0` (`wasm_samples/wit`), as
//! core imports, without a component toolchain. For `wasm32-wasip1` and other targets of 32-bit WebAssembly.
//!
//! ```ignore
//! use hil_gpio::{Flags, Input, Output};
//!
//! fn main() -> Result<(), hil_gpio::Error> {
//!     let button = Input::get("BUTTON", Flags::NONE)?;
//!     let mut led = Output::get("LED", Flags::NONE)?;
//!     while let Some(edge) = button.wait(None)? {
//!         led.set(edge.active)?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The module gets the pins that it is given at its deployment (`--pins`). A pin is given back when its value is
//! dropped; an output then becomes inactive and an input, and the board decides its level.
#![no_std]
#![warn(missing_docs)]

use core::fmt;
use core::mem::MaybeUninit;
use core::ops::BitOr;
use core::time::Duration;

/// An error of the host, in the order of the interface's `gpio-error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Error {
    /// The kernel could not do it.
    HardwareFault,
    /// The pin has another owner, or this module has it already.
    AlreadyInUse,
    /// The list of the deployment does not name the pin.
    PinNotAllowed,
    /// An input that is requested as an output, or the other way round.
    PinModeNotAllowed,
    /// The machine has no pin of this name.
    UndefinedPinLabel,
    /// The pin does not have this mode.
    PinModeNotAvailable,
    /// The function would block.
    WouldBlock,
    /// The pin has no interrupts, or the module has too many handles.
    OperationNotSupported,
    /// Flags that exclude each other, or one that this kind of pin does not have.
    InvalidFlag,
    /// An error that the interface does not name.
    Other,
}

impl Error {
    fn of(number: u8) -> Error {
        use Error::*;
        let all = [
            HardwareFault,
            AlreadyInUse,
            PinNotAllowed,
            PinModeNotAllowed,
            UndefinedPinLabel,
            PinModeNotAvailable,
            WouldBlock,
            OperationNotSupported,
            InvalidFlag,
        ];
        all.get(number as usize).copied().unwrap_or(Other)
    }

    /// The name of the error in the interface.
    pub fn name(self) -> &'static str {
        match self {
            Error::HardwareFault => "hardware-fault",
            Error::AlreadyInUse => "already-in-use",
            Error::PinNotAllowed => "pin-not-allowed",
            Error::PinModeNotAllowed => "pin-mode-not-allowed",
            Error::UndefinedPinLabel => "undefined-pin-label",
            Error::PinModeNotAvailable => "pin-mode-not-available",
            Error::WouldBlock => "would-block",
            Error::OperationNotSupported => "operation-not-supported",
            Error::InvalidFlag => "invalid-flag",
            Error::Other => "other",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.name())
    }
}

/// How a pin is configured; combine with `|`. Without any flag a pin is active at the high level, has no pull resistor,
/// and an output begins inactive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// Active is the high level.
    pub const ACTIVE_HIGH: Flags = Flags(1);
    /// Active is the low level.
    pub const ACTIVE_LOW: Flags = Flags(2);
    /// A resistor to the high level; inputs only. Ignored by a controller without resistors.
    pub const PULL_UP: Flags = Flags(4);
    /// A resistor to the low level; inputs only. Ignored by a controller without resistors.
    pub const PULL_DOWN: Flags = Flags(8);
    /// The output begins active.
    pub const ACTIVE: Flags = Flags(16);
    /// The output begins inactive.
    pub const INACTIVE: Flags = Flags(32);
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// An edge of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// When the kernel handled its interrupt, in nanoseconds of the monotonic clock (`std::time::Instant`'s).
    pub stamp: u64,
    /// The place of the pin among those of [`wait_any`].
    pub pin: usize,
    /// The state that the pin went to.
    pub active: bool,
    /// How many edges of this pin before it are lost: the kernel keeps 1024.
    pub lost: u32,
}

/// A pin that the module reads.
#[derive(Debug)]
#[repr(transparent)]
pub struct Input(u32);

/// A pin that the module drives.
#[derive(Debug)]
#[repr(transparent)]
pub struct Output(u32);

impl Input {
    /// Request the pin of that name.
    pub fn get(label: &str, flags: Flags) -> Result<Input, Error> {
        call(|to| unsafe { digital::in_get(label.as_ptr(), label.len(), &flags.0, 1, to) }).map(Input)
    }

    /// Return whether the pin is active.
    pub fn is_active(&self) -> Result<bool, Error> {
        call(|to| unsafe { digital::in_is_active(self.0, to) }).map(|value| value & 0xff == 1)
    }

    /// Keep the edges of the pin from now on; else it begins with the first call of `wait`.
    pub fn watch(&self) -> Result<(), Error> {
        call(|to| unsafe { edges::watch(self.0, to) }).map(drop)
    }

    /// Return the oldest edge that was not returned yet; wait for one, at most `limit`. `None` as a result: the limit
    /// has passed.
    pub fn wait(&self, limit: Option<Duration>) -> Result<Option<Edge>, Error> {
        wait_any(core::slice::from_ref(self), limit)
    }
}

impl Output {
    /// Request the pin of that name.
    pub fn get(label: &str, flags: Flags) -> Result<Output, Error> {
        call(|to| unsafe { digital::out_get(label.as_ptr(), label.len(), &flags.0, 1, to) }).map(Output)
    }

    /// Make the pin active or inactive.
    pub fn set(&mut self, active: bool) -> Result<(), Error> {
        call(|to| unsafe { digital::out_set_state(self.0, !active as u32, to) }).map(drop)
    }

    /// Change the state of the pin.
    pub fn toggle(&mut self) -> Result<(), Error> {
        call(|to| unsafe { digital::out_toggle(self.0, to) }).map(drop)
    }

    /// Return whether the pin was set active.
    pub fn is_set_active(&self) -> Result<bool, Error> {
        call(|to| unsafe { digital::out_is_set_active(self.0, to) }).map(|value| value & 0xff == 1)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        unsafe { digital::in_drop(self.0) }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        unsafe { digital::out_drop(self.0) }
    }
}

/// Return the oldest edge of several inputs, 1 to 64; wait for one as [`Input::wait`] does.
pub fn wait_any(inputs: &[Input], limit: Option<Duration>) -> Result<Option<Edge>, Error> {
    let limit = limit.map_or(u64::MAX, |limit| limit.as_nanos().min(u64::MAX as u128 - 1) as u64);
    let mut result = MaybeUninit::<EdgeResult>::zeroed();
    let result = unsafe {
        edges::wait(inputs.as_ptr().cast(), inputs.len(), limit, result.as_mut_ptr());
        result.assume_init()
    };
    match (result.failed, result.some) {
        (0, 0) => Ok(None),
        (0, _) => Ok(Some(Edge {
            stamp: result.stamp,
            pin: result.pin as usize,
            active: result.falling == 0,
            lost: result.lost,
        })),
        (_, error) => Err(Error::of(error)),
    }
}

/// `result<handle | state | nothing, gpio-error>` in the module's memory.
#[repr(C)]
pub(crate) struct CallResult {
    failed: u8,
    value: u32, // in its first byte an error or a state
    text: [u32; 2],
}

/// `result<option<event>, gpio-error>` in the module's memory.
#[repr(C)]
pub(crate) struct EdgeResult {
    failed: u8,
    padding: [u8; 7],
    some: u8, // or the error
    more_padding: [u8; 7],
    stamp: u64,
    pin: u32,
    falling: u8,
    lost: u32,
}

fn call(import: impl FnOnce(*mut CallResult)) -> Result<u32, Error> {
    let mut result = MaybeUninit::<CallResult>::zeroed();
    import(result.as_mut_ptr());
    let result = unsafe { result.assume_init() };
    match result.failed {
        0 => Ok(result.value),
        _ => Err(Error::of(result.value as u8)),
    }
}

mod digital {
    use super::CallResult;

    #[link(wasm_import_module = "wasi:gpio/digital@0.2.0")]
    extern "C" {
        #[link_name = "[static]digital-in-pin.get"]
        pub(crate) fn in_get(label: *const u8, size: usize, flags: *const u8, count: usize, to: *mut CallResult);
        #[link_name = "[method]digital-in-pin.is-active"]
        pub(crate) fn in_is_active(pin: u32, to: *mut CallResult);
        #[link_name = "[resource-drop]digital-in-pin"]
        pub(crate) fn in_drop(pin: u32);
        #[link_name = "[static]stateful-digital-out-pin.get"]
        pub(crate) fn out_get(label: *const u8, size: usize, flags: *const u8, count: usize, to: *mut CallResult);
        #[link_name = "[method]stateful-digital-out-pin.set-state"]
        pub(crate) fn out_set_state(pin: u32, state: u32, to: *mut CallResult);
        #[link_name = "[method]stateful-digital-out-pin.toggle"]
        pub(crate) fn out_toggle(pin: u32, to: *mut CallResult);
        #[link_name = "[method]stateful-digital-out-pin.is-set-active"]
        pub(crate) fn out_is_set_active(pin: u32, to: *mut CallResult);
        #[link_name = "[resource-drop]stateful-digital-out-pin"]
        pub(crate) fn out_drop(pin: u32);
    }
}

mod edges {
    use super::{CallResult, EdgeResult};

    #[link(wasm_import_module = "hil:gpio/edges@0.1.0")]
    extern "C" {
        pub(crate) fn watch(pin: u32, to: *mut CallResult);
        pub(crate) fn wait(pins: *const u32, count: usize, limit: u64, to: *mut EdgeResult);
    }
}
