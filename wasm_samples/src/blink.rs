// SPDX-License-Identifier: Apache-2.0
// Blinks LED ten times, for 1 ms of 2, by the crate hil-gpio and without Rust's standard library; ends with 69 where a
// pin is refused.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use core::time::Duration;
use hil_gpio::{Error, Flags, Input, Output};

#[repr(C)]
struct Piece {
    at: *const u8,
    size: usize,
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn fd_write(fd: u32, pieces: *const Piece, count: usize, written: *mut usize) -> u32;
    fn proc_exit(code: u32) -> !;
}

fn say(text: &str) {
    let piece = Piece { at: text.as_ptr(), size: text.len() };
    let mut written = 0;
    unsafe { fd_write(1, &piece, 1, &mut written) };
}

fn blink() -> Result<(), Error> {
    let mut led = Output::get("LED", Flags::NONE)?;
    let fault = Input::get("FAULT", Flags::NONE)?;
    fault.watch()?;
    say("ready\n");
    for _ in 0..20 {
        led.toggle()?;
        if fault.wait(Some(Duration::from_millis(1)))?.is_some() {
            say("fault\n");
            return Ok(()); // both pins are given back here
        }
    }
    say("blinked\n");
    Ok(())
}

#[no_mangle]
pub extern "C" fn _start() {
    if let Err(error) = blink() {
        say(error.name());
        say("\n");
        unsafe { proc_exit(69) }
    }
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}
