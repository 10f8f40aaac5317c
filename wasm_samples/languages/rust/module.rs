// A module for a test: build it with ./build. It prints its arguments and ends with their number.
//
// Host functions for pins, CAN and analogue channels: the crates hil-gpio and hil-wires (`hil sample include --rust` prints
// their directory). A program with crates is built by cargo, `--target wasm32-wasip1`, instead of ./build.
use std::process::exit;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for (number, argument) in arguments.iter().enumerate() {
        println!("argument {}: {argument}", number + 1);
    }
    exit(arguments.len() as i32);
}
